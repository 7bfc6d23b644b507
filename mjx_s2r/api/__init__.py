"""The door: make, train, distill, evaluate, export, and the trained policies that they return."""
