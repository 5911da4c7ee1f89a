#include "tests/support/tcp_gate.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

namespace vitower {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void Reset(int fd) {
  if (fd < 0) return;
  const linger at_once{1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  close(fd);
}

bool SendAll(int fd, const char* bytes, ssize_t size) {
  while (size > 0) {
    const ssize_t sent = send(fd, bytes, static_cast<size_t>(size), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes += sent;
    size -= sent;
  }
  return true;
}

bool Forward(int from, int to) {
  char bytes[1 << 16];
  const ssize_t got = recv(from, bytes, sizeof(bytes), 0);
  return got > 0 && SendAll(to, bytes, got);
}

}  // namespace

TcpGate::TcpGate(int server_port) : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(listener_, 1) != 0) return;
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  if (pipe(cut_pipe_) != 0) return;
  thread_ = std::thread([this, server_port] { Run(server_port); });
}

TcpGate::~TcpGate() {
  Cut();
  close(listener_);
  close(cut_pipe_[0]);
  close(cut_pipe_[1]);
}

void TcpGate::Cut() {
  if (!thread_.joinable()) return;
  [[maybe_unused]] const ssize_t written = write(cut_pipe_[1], "x", 1);
  thread_.join();
}

void TcpGate::Run(int server_port) {
  pollfd waiting[] = {{listener_, POLLIN, 0}, {cut_pipe_[0], POLLIN, 0}};
  if (poll(waiting, 2, -1) <= 0 || waiting[1].revents != 0) return;
  const int client = accept(listener_, nullptr, nullptr);
  const int server = socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in address = Loopback(server_port);
  bool open = connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
  pollfd ends[] = {{client, POLLIN, 0}, {server, POLLIN, 0}, {cut_pipe_[0], POLLIN, 0}};
  while (open && poll(ends, 3, -1) > 0 && ends[2].revents == 0) {
    if (ends[0].revents != 0) open = Forward(client, server);
    if (open && ends[1].revents != 0) open = Forward(server, client);
  }
  Reset(client);
  Reset(server);
}

}  // namespace vitower
