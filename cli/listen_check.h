#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace vitower {

// Whether a server could listen on "HOST:PORT" now, tried and given up again: so that an address in use is reported
// before a model is loaded, which takes long. UNAVAILABLE, naming `flag`, the address and the system's reason, where it
// could not. Port 0, and a host that only a name service knows, are left to the server.
absl::Status CheckListen(std::string_view flag, const std::string& address);

}  // namespace vitower
