// A robot of numbers behind the UDP protocol of mjx_s2r: joints follow commands at a limited rate.
//
//   g++ -std=c++17 -O2 example_robot.cpp -o example_robot
//   ./example_robot 9870 0.1 shoulder,elbow      port, own timeout in s, joints
//
// Replace `Joints` by your bus, and the signals SIGUSR1 (press) and SIGUSR2 (release) by your e-stop
// button. What happened is told on the standard output.

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "mjx_s2r_udp.hpp"

constexpr double kPeriod = 0.002;  // s, of the robot's loop
constexpr double kRate = 3.0;      // rad/s
constexpr double kRange = 3.2;     // rad, both ways

volatile std::sig_atomic_t pressed = 0;
void press(int) { pressed = 1; }
void release(int) { pressed = 0; }

struct Joints {  // the robot: position and speed of every joint
  std::vector<double> position, velocity;
  void follow(const std::vector<double>& target) {
    for (std::size_t j = 0; j < position.size(); ++j) {
      const double most = kRate * kPeriod, wanted = target[j] - position[j];
      const double step = std::min(std::max(wanted, -most), most);
      position[j] += step;
      velocity[j] = step / kPeriod;
    }
  }
  void hold() { velocity.assign(position.size(), 0.0); }
};

std::string repeated(double value, std::size_t count) {
  std::ostringstream out;
  for (std::size_t j = 0; j < count; ++j) out << (j ? "," : "[") << value;
  return out.str() + "]";
}

std::string description(const std::vector<std::string>& names, double timeout_s) {
  std::ostringstream out;
  out << R"({"name": "example robot", "command": "position", "unit": "rad", "joints": [)";
  for (std::size_t j = 0; j < names.size(); ++j) out << (j ? ", \"" : "\"") << names[j] << "\"";
  out << R"(], "low": )" << repeated(-kRange, names.size())
      << R"(, "high": )" << repeated(kRange, names.size())
      << R"(, "max_rate": )" << repeated(kRate, names.size())
      << R"(, "max_hz": )" << 1 / kPeriod << R"(, "timeout_s": )" << timeout_s
      << R"(, "signals": [["joint_pos", )" << names.size() << R"(], ["joint_vel", )"
      << names.size() << "]]}";
  return out.str();
}

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: example_robot PORT TIMEOUT_S JOINT,JOINT,...\n");
    return 2;
  }
  std::vector<std::string> names;
  std::stringstream list(argv[3]);
  for (std::string name; std::getline(list, name, ',');) names.push_back(name);
  const double timeout_s = std::atof(argv[2]);
  mjx_s2r::RobotEnd end(static_cast<std::uint16_t>(std::atoi(argv[1])),
                        description(names, timeout_s), names.size(), timeout_s);
  Joints joints{std::vector<double>(names.size(), 0.0), std::vector<double>(names.size(), 0.0)};
  std::printf("port %d\n", end.port());
  std::fflush(stdout);
  std::signal(SIGUSR1, press);
  std::signal(SIGUSR2, release);
  bool moved = false;
  for (auto next = std::chrono::steady_clock::now();;) {
    end.poll();
    end.estop(pressed != 0);
    if (end.moving()) joints.follow(end.command());
    else joints.hold();
    if (moved != end.moving()) {
      moved = end.moving();
      std::printf("%s %.6f\n", moved ? "moving" : end.timed_out() ? "timed_out" : "stopped",
                  mjx_s2r::now_s());
      std::fflush(stdout);
    }
    std::vector<double> values = joints.position;
    values.insert(values.end(), joints.velocity.begin(), joints.velocity.end());
    end.send_reading(mjx_s2r::now_s(), values);
    next += std::chrono::microseconds(static_cast<int>(1e6 * kPeriod));
    std::this_thread::sleep_until(next);
  }
}
