#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/server.h"

namespace vitower {

// Checks every option by itself and against the others, and fills in what is left to the server (0: choose).
// INVALID_ARGUMENT names the flag, the value got and the limit.
absl::StatusOr<ServerOptions> ResolveOptions(ServerOptions options);

struct Address {
  std::string host;  // without brackets
  int port = 0;
};

// "HOST:PORT" or "[IPv6]:PORT". `flag` names the option in the message.
absl::StatusOr<Address> ParseAddress(std::string_view flag, std::string_view text);

}  // namespace vitower
