// The robot's end of the UDP protocol of mjx_s2r (docs/udp.md), C++17, POSIX sockets, nothing else.
//
// Make a `RobotEnd`, call `poll` as often as you can, send a reading each cycle, and do what
// `state()` says: `moving()` means "follow command()", everything else means "stopped". The end
// keeps the robot's own timeout: without a command for `timeout_s` it stops and stays stopped until
// the controller connects again.

#ifndef MJX_S2R_UDP_HPP
#define MJX_S2R_UDP_HPP

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

namespace mjx_s2r {

enum Kind : std::uint8_t {
  HELLO = 1, DESCRIBE = 2, ECHO = 3, ECHOED = 4, READING = 5, COMMAND = 6, STOP = 7, STOPPED = 8
};

enum Flag : std::uint32_t { MOVING = 1, TIMED_OUT = 2, ESTOP = 4, UNARMED = 8 };

constexpr std::size_t kHeader = 32;
constexpr std::size_t kMost = 65507;  // bytes of the largest UDP datagram
constexpr std::uint8_t kVersion = 1;

inline double now_s() {  // the robot's monotonic clock, s
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// CRC-32 of IEEE 802.3, reflected, polynomial 0xEDB88320: the one of zlib.
inline std::uint32_t crc32(const std::uint8_t* data, std::size_t size, std::uint32_t crc = 0) {
  crc = ~crc;
  for (std::size_t i = 0; i < size; ++i) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (0xEDB88320U & (0U - (crc & 1U)));
  }
  return ~crc;
}

// Little-endian numbers, whatever the processor's order is.
inline void put(std::vector<std::uint8_t>& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}
inline void put_double(std::vector<std::uint8_t>& out, double value) {
  std::uint64_t bits;
  std::memcpy(&bits, &value, 8);
  put(out, bits, 8);
}
inline std::uint64_t get(const std::uint8_t* in, int bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value |= static_cast<std::uint64_t>(in[i]) << (8 * i);
  return value;
}
inline double get_double(const std::uint8_t* in) {
  const std::uint64_t bits = get(in, 8);
  double value;
  std::memcpy(&value, &bits, 8);
  return value;
}

// Returns a whole datagram; `docs/udp.md` has the layout.
inline std::vector<std::uint8_t> pack(Kind kind, std::uint32_t session, std::uint32_t sequence,
                                      const std::vector<std::uint8_t>& payload) {
  std::vector<std::uint8_t> out{'M', 'X', 'R', 'U', kVersion, kind, 0, 0};
  put(out, session, 4);
  put(out, sequence, 4);
  put_double(out, now_s());
  put(out, payload.size(), 4);
  std::uint32_t crc = crc32(out.data(), out.size());
  put(out, crc32(payload.data(), payload.size(), crc), 4);
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}

class RobotEnd {
 public:
  // `description` is the JSON of docs/udp.md; port 0 takes a free one.
  RobotEnd(std::uint16_t port, std::string description, std::size_t joints, double timeout_s)
      : description_(std::move(description)), command_(joints, 0.0), timeout_s_(timeout_s) {
    socket_ = ::socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_ANY);
    here.sin_port = htons(port);
    if (socket_ < 0 || ::bind(socket_, reinterpret_cast<sockaddr*>(&here), sizeof here) != 0)
      throw std::runtime_error("cannot listen at UDP port " + std::to_string(port));
    ::fcntl(socket_, F_SETFL, O_NONBLOCK);
  }
  ~RobotEnd() { ::close(socket_); }
  RobotEnd(const RobotEnd&) = delete;
  RobotEnd& operator=(const RobotEnd&) = delete;

  std::uint16_t port() const {
    sockaddr_in here{};
    socklen_t size = sizeof here;
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&here), &size);
    return ntohs(here.sin_port);
  }

  bool moving() const { return (flags_ & MOVING) != 0; }
  bool timed_out() const { return (flags_ & TIMED_OUT) != 0; }
  const std::vector<double>& command() const { return command_; }

  // The robot's own e-stop button: pressed stops, and a controller must connect again, also when it
  // was released meanwhile: every reading says so by UNARMED.
  void estop(bool pressed) {
    if (pressed) flags_ = (flags_ & TIMED_OUT) | ESTOP;
    else flags_ &= ~static_cast<std::uint32_t>(ESTOP);
    if (pressed) armed_ = false;
  }

  // What arrived and was dropped: damaged, of somebody else, old or twice, too late or unfit.
  std::array<std::uint64_t, 4> dropped{};

  // Reads what has come and keeps the timeout; call it as often as you can.
  void poll() {
    std::uint8_t bytes[2048];
    sockaddr_in from{};
    for (int i = 0; i < 256; ++i) {  // a flood must not hold the robot up
      socklen_t size = sizeof from;
      const ssize_t n = ::recvfrom(socket_, bytes, sizeof bytes, 0,
                                   reinterpret_cast<sockaddr*>(&from), &size);
      if (n < 0) break;
      take(bytes, static_cast<std::size_t>(n), from);
    }
    if (moving() && now_s() - last_command_s_ > timeout_s_) {
      flags_ = (flags_ & ESTOP) | TIMED_OUT;
      armed_ = false;
    }
  }

  // Sends a reading to the controller; `values` are the signals in the description's order.
  void send_reading(double measured_s, const std::vector<double>& values) {
    if (session_ == 0 || now_s() - heard_s_ > 5.0) return;
    std::vector<std::uint8_t> payload;
    put(payload, flags_ | (armed_ ? 0U : UNARMED), 4);
    put(payload, last_sequence_, 4);
    put_double(payload, measured_s);
    for (double value : values) put_double(payload, value);
    send(READING, payload);
  }

 private:
  void take(const std::uint8_t* in, std::size_t size, const sockaddr_in& from) {
    if (size < kHeader || std::memcmp(in, "MXRU", 4) != 0 || in[4] != kVersion) {
      ++dropped[1];
      return;
    }
    const std::size_t length = size - kHeader;
    const std::uint8_t* payload = in + kHeader;
    if (get(in + 24, 4) != length ||
        get(in + 28, 4) != crc32(payload, length, crc32(in, kHeader - 4))) {
      ++dropped[0];
      return;
    }
    const auto kind = static_cast<Kind>(in[5]);
    const auto session = static_cast<std::uint32_t>(get(in + 8, 4));
    const auto sequence = static_cast<std::uint32_t>(get(in + 12, 4));
    if (kind == HELLO) return hello(session, sequence, from);
    const bool same = from.sin_addr.s_addr == peer_.sin_addr.s_addr &&
                      from.sin_port == peer_.sin_port;
    if (session != session_ || session == 0 || !same) {
      ++dropped[1];
      return;
    }
    heard_s_ = now_s();
    if (kind == ECHO && length == 8) {
      send(ECHOED, std::vector<std::uint8_t>(payload, payload + 8));
    } else if (kind == STOP) {
      stop(sequence);
    } else if (kind == COMMAND) {
      obey(sequence, payload, length);
    }
  }

  // A controller begins; nobody takes a robot over that moves, and no old greeting counts again.
  void hello(std::uint32_t session, std::uint32_t sequence, const sockaddr_in& from) {
    bool known = false;
    for (std::uint32_t past : past_) known = known || past == session;
    const bool again = session == session_;
    if (session == 0 || (!again && (known || moving())) || (again && sequence <= last_sequence_)) {
      ++dropped[1];
      return;
    }
    if (!again) {
      past_.push_back(session);
      if (past_.size() > 64) past_.pop_front();
      sent_ = 0;
    }
    session_ = session;
    last_sequence_ = sequence;
    peer_ = from;
    heard_s_ = now_s();
    flags_ &= ~static_cast<std::uint32_t>(TIMED_OUT);
    armed_ = (flags_ & ESTOP) == 0;
    send(DESCRIBE, std::vector<std::uint8_t>(description_.begin(), description_.end()));
  }

  void stop(std::uint32_t sequence) {
    if (sequence > last_sequence_) last_sequence_ = sequence;
    flags_ &= ~static_cast<std::uint32_t>(MOVING);
    std::vector<std::uint8_t> payload;
    put(payload, sequence, 4);
    send(STOPPED, payload);
  }

  void obey(std::uint32_t sequence, const std::uint8_t* payload, std::size_t length) {
    if (sequence <= last_sequence_) {
      ++dropped[2];
      return;
    }
    bool fits = armed_ && length == 16 + 8 * command_.size() &&
                get(payload + 4, 4) == command_.size() && get_double(payload + 8) >= now_s();
    for (std::size_t j = 0; fits && j < command_.size(); ++j)
      fits = std::isfinite(get_double(payload + 16 + 8 * j));
    if (!fits) {
      ++dropped[3];
      return;
    }
    last_sequence_ = sequence;
    last_command_s_ = now_s();
    flags_ |= MOVING;
    for (std::size_t j = 0; j < command_.size(); ++j)
      command_[j] = get_double(payload + 16 + 8 * j);
  }

  void send(Kind kind, const std::vector<std::uint8_t>& payload) {
    const auto bytes = pack(kind, session_, ++sent_, payload);
    if (bytes.size() <= kMost)
      ::sendto(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT,
               reinterpret_cast<const sockaddr*>(&peer_), sizeof peer_);
  }

  std::string description_;
  std::vector<double> command_;
  double timeout_s_;
  int socket_ = -1;
  sockaddr_in peer_{};
  std::uint32_t session_ = 0, last_sequence_ = 0, sent_ = 0, flags_ = 0;
  double last_command_s_ = 0.0, heard_s_ = 0.0;
  bool armed_ = false;
  std::deque<std::uint32_t> past_;
};

}  // namespace mjx_s2r

#endif
