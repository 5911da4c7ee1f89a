#pragma once

#include <string_view>

namespace vitower {

extern const std::string_view kVersion;  // "0.1.0"

}  // namespace vitower
