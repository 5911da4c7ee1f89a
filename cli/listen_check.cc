#include "cli/listen_check.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "server/options.h"

namespace vitower {
namespace {

// 0, or the errno of the first step that failed.
int TryToBind(const addrinfo& address) {
  const int socket = ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return errno;
  const int yes = 1;
  setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));  // a port that was left a moment ago is free
  const int error = bind(socket, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  close(socket);
  return error;
}

}  // namespace

absl::Status CheckListen(std::string_view flag, const std::string& address) {
  const absl::StatusOr<Address> parsed = ParseAddress(flag, address);
  if (!parsed.ok()) return parsed.status();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const bool known = getaddrinfo(parsed->host.c_str(), std::to_string(parsed->port).c_str(), &hints, &found) == 0;
  if (!known) return absl::OkStatus();
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  const int error = parsed->port == 0 ? 0 : TryToBind(*found);
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat(std::string(flag), ": cannot listen on ", address, ": ", std::strerror(error)));
}

}  // namespace vitower
