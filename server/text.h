#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "absl/types/span.h"

namespace vitower {
namespace internal {

template <typename Part>
void AppendTo(std::string& text, const Part& part) {
  if constexpr (std::is_arithmetic_v<Part>) {
    text += std::to_string(part);
  } else {
    text += std::string_view(part);
  }
}

}  // namespace internal

// The parts, strings of any kind and numbers, as one string. (absl::StrCat does not take a std::string_view where absl
// was built with a string_view of its own.)
template <typename... Parts>
std::string Cat(const Parts&... parts) {
  std::string text;
  (internal::AppendTo(text, parts), ...);
  return text;
}

inline absl::Span<const uint8_t> BytesOf(const std::string& bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

}  // namespace vitower
