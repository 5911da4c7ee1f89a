#pragma once

#include <thread>

namespace vitower {

// Stands between one client and a server's port on the loopback and hands bytes on, until it is cut: then both see
// their connection reset, as when the other end's machine or process is gone.
class TcpGate final {
 public:
  explicit TcpGate(int server_port);
  ~TcpGate();  // cuts
  TcpGate(const TcpGate&) = delete;
  TcpGate& operator=(const TcpGate&) = delete;

  int port() const { return port_; }
  void Cut();

 private:
  void Run(int server_port);

  int listener_ = -1;
  int port_ = 0;
  int cut_pipe_[2] = {-1, -1};  // a byte in it: cut
  std::thread thread_;
};

}  // namespace vitower
