// private header
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vitower {

// The bytes of a small file that a flag names. INVALID_ARGUMENT names flag and file, and says why it cannot be read or
// that it has more than 1 MiB.
absl::StatusOr<std::string> ReadSmallFile(std::string_view flag, const std::string& path);

// Says in the log where anybody on this machine may read a file that holds secrets.
void WarnIfOpenToAll(std::string_view flag, const std::string& path);

}  // namespace vitower
