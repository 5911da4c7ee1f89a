#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "server/options.h"
#include "server/server.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

absl::Status CannotListen(std::string_view flag, const std::string& text, const char* why) {
  return MakeStatus(Fault::kNotReady, Cat("cannot listen on ", text, " (", flag, "): ", why));
}

// With the socket option that both servers set, so that the answer is the one they will get. 0, or errno.
int TryBind(const addrinfo& at) {
  const int fd = socket(at.ai_family, at.ai_socktype | SOCK_CLOEXEC, at.ai_protocol);
  if (fd < 0) return errno;
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const int error = bind(fd, at.ai_addr, at.ai_addrlen) == 0 ? 0 : errno;
  close(fd);
  return error;
}

absl::Status CheckAddress(std::string_view flag, const std::string& text) {
  const absl::StatusOr<Address> address = ParseAddress(flag, text);
  if (!address.ok()) return address.status();
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int unknown = getaddrinfo(address->host.c_str(), std::to_string(address->port).c_str(), &hints, &found);
  if (unknown != 0) return CannotListen(flag, text, gai_strerror(unknown));
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owned(found, freeaddrinfo);
  int error = 0;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    error = TryBind(*at);
    if (error == 0) return absl::OkStatus();
  }
  return CannotListen(flag, text, std::strerror(error));
}

}  // namespace

absl::Status CheckListen(const ServerOptions& options) {
  if (absl::Status listen = CheckAddress("--listen", options.listen); !listen.ok()) return listen;
  return CheckAddress("--metrics-listen", options.metrics_listen);
}

}  // namespace vitower
