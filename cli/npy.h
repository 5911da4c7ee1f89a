#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace vitower {

// Writes a C-ordered little-endian array as numpy's .npy, version 1.0. `descr` is numpy's name of the element type:
// "<f4", "<f2", "<i8". Replaces an existing file. Fails with UNAVAILABLE naming the file and the system's reason.
absl::Status WriteNpy(const std::filesystem::path& path, const std::string& descr, absl::Span<const int64_t> shape,
                      absl::Span<const std::byte> data);

}  // namespace vitower
