#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace vitower {

// Values as the flags take them: what ParseBytes and ParseDuration read back.
std::string FormatBytes(int64_t bytes);                       // 268435456 -> "256MiB"
std::string FormatDuration(std::chrono::microseconds value);  // 30000000us -> "30s"

}  // namespace vitower
