#include "server/acceptor.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "server/log.h"
#include "server/options.h"
#include "server/status.h"

namespace vitower {
namespace {

constexpr rlim_t kOtherDescriptors = 256;  // of models, metrics, gRPC itself

absl::Status CannotListen(const std::string& address, const char* why) {
  return MakeStatus(Fault::kNotReady, Cat("cannot listen on ", address, " (--listen): ", why));
}

// How many of `wanted` connections the process may hold, having asked for as many descriptors as it may.
size_t ConnectionsWithinLimit(int64_t wanted) {
  const auto needed = static_cast<rlim_t>(wanted) + kOtherDescriptors;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return static_cast<size_t>(wanted);
  limit.rlim_cur = std::min(needed, limit.rlim_max);
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur >= needed) return static_cast<size_t>(wanted);
  const rlim_t left = limit.rlim_cur > 2 * kOtherDescriptors ? limit.rlim_cur - kOtherDescriptors : limit.rlim_cur / 2;
  Log(LogLevel::kWarning, Cat("--max-connections is ", wanted, ", and the process may open ", limit.rlim_cur,
                              " files: it takes ", left, " connections at a time"));
  return left;
}

// The socket, or one without descriptor and errno.
OwnedFd BindTo(const sockaddr* address, socklen_t size) {
  OwnedFd fd(socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return fd;
  const int yes = 1;
  const int no = 0;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));  // what is accepted has it too
  if (address->sa_family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
  const bool listens = bind(fd.get(), address, size) == 0 && listen(fd.get(), SOMAXCONN) == 0;
  return listens ? std::move(fd) : OwnedFd();
}

// Every address of this machine, IPv4 and IPv6 at once where there is IPv6.
OwnedFd BindToAll(int port) {
  sockaddr_in6 six{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(static_cast<uint16_t>(port));
  OwnedFd fd = BindTo(reinterpret_cast<const sockaddr*>(&six), sizeof(six));
  if (fd.get() >= 0 || errno == EADDRINUSE) return fd;
  sockaddr_in four{};
  four.sin_family = AF_INET;
  four.sin_port = six.sin6_port;
  return BindTo(reinterpret_cast<const sockaddr*>(&four), sizeof(four));
}

absl::StatusOr<OwnedFd> Bind(const std::string& text, const Address& address) {
  OwnedFd fd;
  if (address.host == "0.0.0.0" || address.host == "::") {
    fd = BindToAll(address.port);
  } else {
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int unknown = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
    if (unknown != 0) return CannotListen(text, gai_strerror(unknown));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, freeaddrinfo);
    for (const addrinfo* at = found; at != nullptr && fd.get() < 0; at = at->ai_next) {
      fd = BindTo(at->ai_addr, at->ai_addrlen);
    }
  }
  if (fd.get() < 0) return CannotListen(text, std::strerror(errno));
  return fd;
}

int PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  const auto* six = reinterpret_cast<const sockaddr_in6*>(&bound);  // the port is at the same place in both
  return ntohs(six->sin6_port);
}

}  // namespace

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

OwnedFd::~OwnedFd() {
  const int error = errno;
  if (fd_ >= 0) close(fd_);
  errno = error;
}

int OwnedFd::Release() { return std::exchange(fd_, -1); }

absl::StatusOr<std::unique_ptr<Acceptor>> Acceptor::Listen(const std::string& address, int64_t max_connections,
                                                           Metrics& metrics) {
  const absl::StatusOr<Address> parsed = ParseAddress("--listen", address);
  if (!parsed.ok()) return parsed.status();
  absl::StatusOr<OwnedFd> socket = Bind(address, *parsed);
  if (!socket.ok()) return socket.status();
  OwnedFd stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (stop.get() < 0) return CannotListen(address, std::strerror(errno));
  const int port = PortOf(socket->get());
  return std::unique_ptr<Acceptor>(
      new Acceptor(*std::move(socket), port, std::move(stop), ConnectionsWithinLimit(max_connections), metrics));
}

Acceptor::Acceptor(OwnedFd socket, int port, OwnedFd stop, size_t max_connections, Metrics& metrics)
    : metrics_(metrics),
      port_(port),
      max_connections_(max_connections),
      socket_(std::move(socket)),
      stop_(std::move(stop)) {}

void Acceptor::Start(Handler handler) {
  handler_ = std::move(handler);
  thread_ = std::jthread([this] { Run(); });
}

void Acceptor::Stop() {
  const uint64_t one = 1;
  (void)!write(stop_.get(), &one, sizeof(one));
  if (thread_.joinable()) thread_.join();
}

void Acceptor::Run() {
  bool paused = false;
  while (WaitForConnection(paused)) {
    paused = !Accept();
    if (std::chrono::steady_clock::now() - looked_at_ >= std::chrono::seconds(1)) ForgetClosed();
  }
  socket_ = OwnedFd();
}

// A second at most, and less while it is of no use to look at the port. False: it is time to stop.
bool Acceptor::WaitForConnection(bool paused) {
  pollfd fds[] = {{stop_.get(), POLLIN, 0}, {paused ? -1 : socket_.get(), POLLIN, 0}};
  (void)poll(fds, 2, paused ? 100 : 1000);
  return (fds[0].revents & POLLIN) == 0;
}

// False where there are no more descriptors or buffers: it may succeed later.
bool Acceptor::Accept() {
  OwnedFd fd(accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (fd.get() < 0) return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
  const bool taken = TakeIn(fd.get());
  metrics_.CountConnection(taken);
  if (taken) handler_(fd.Release());
  return true;
}

bool Acceptor::TakeIn(int fd) {
  constexpr std::chrono::milliseconds kRest{100};  // a flood of connections must not keep a core busy with looking
  const bool full = open_.size() >= max_connections_;
  if (full && std::chrono::steady_clock::now() - looked_at_ >= kRest) ForgetClosed();
  struct stat about {};
  if (open_.size() >= max_connections_ || fstat(fd, &about) != 0) return false;
  open_.push_back({fd, about.st_dev, about.st_ino});
  metrics_.SetConnections(static_cast<int64_t>(open_.size()));
  return true;
}

// gRPC closes the descriptors without a word: another file, or none, stands in its place then.
void Acceptor::ForgetClosed() {
  const auto closed = [](const Connection& connection) {
    struct stat now {};
    return fstat(connection.fd, &now) != 0 || now.st_dev != connection.device || now.st_ino != connection.inode;
  };
  open_.erase(std::remove_if(open_.begin(), open_.end(), closed), open_.end());
  looked_at_ = std::chrono::steady_clock::now();
  metrics_.SetConnections(static_cast<int64_t>(open_.size()));
}

}  // namespace vitower
