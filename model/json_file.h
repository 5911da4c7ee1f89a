// private header
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "absl/status/statusor.h"

namespace vitower {

// Whether something of that name is there, be it a link to nowhere: reading it then says what is wrong.
bool IsThere(const std::filesystem::path& path);

// The JSON object that a file of at most 64 MiB holds. FAILED_PRECONDITION names the file and what is wrong with it;
// also where a key stands twice in the member `unique_keys` of the object, or that member itself does: the parsed
// object would show the last one only.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::filesystem::path& path, std::string_view unique_keys = {});

}  // namespace vitower
