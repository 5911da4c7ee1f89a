// private header
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/metrics.h"

namespace vitower {

// A descriptor, closed at the end.
class OwnedFd final {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.Release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  ~OwnedFd();

  int get() const { return fd_; }
  int Release();

 private:
  int fd_;
};

// The port of gRPC: takes connections on a thread of its own, and not more than so many at a time; further ones are
// closed at once, and counted. (gRPC's own listener has no such limit, and once the process has run out of descriptors
// it never takes a connection again.) Not thread-safe; Start comes once.
class Acceptor final {
 public:
  // Takes the descriptor of a connection.
  using Handler = std::function<void(int fd)>;

  // Connections wait until Start. `max_connections` becomes less where the process may not have so many descriptors.
  // UNAVAILABLE names the address and the reason.
  static absl::StatusOr<std::unique_ptr<Acceptor>> Listen(const std::string& address, int64_t max_connections,
                                                          Metrics& metrics);
  ~Acceptor() { Stop(); }

  int port() const { return port_; }
  void Start(Handler handler);
  // Blocks until the port is closed and the last connection is handed over. Idempotent.
  void Stop();

 private:
  struct Connection {
    int fd;
    dev_t device;
    ino_t inode;
  };
  using Time = std::chrono::steady_clock::time_point;

  Acceptor(OwnedFd socket, int port, OwnedFd stop, size_t max_connections, Metrics& metrics);

  void Run();
  bool WaitForConnection(bool paused);
  bool Accept();
  bool TakeIn(int fd);
  void ForgetClosed();

  Metrics& metrics_;
  const int port_;
  const size_t max_connections_;

  // Of the thread, once it runs.
  OwnedFd socket_;
  Handler handler_;
  std::vector<Connection> open_;  // and what has closed since looked_at_
  Time looked_at_;

  OwnedFd stop_;
  std::jthread thread_;
};

}  // namespace vitower
