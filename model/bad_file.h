// private header
#pragma once

#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vitower {

// FAILED_PRECONDITION: what is wrong with a file or folder.
inline absl::Status BadFile(const std::filesystem::path& path, const std::string& what) {
  return absl::FailedPreconditionError(absl::StrCat(path.string(), ": ", what));
}

}  // namespace vitower
