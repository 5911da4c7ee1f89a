#pragma once

#include <string>
#include <string_view>

namespace vitower {

// `text` as an error message may quote it: whole if it is short, else its beginning. For what comes out of a file.
inline std::string Excerpt(std::string_view text) {
  constexpr size_t kMaxBytes = 200;
  if (text.size() <= kMaxBytes) return std::string(text);
  return std::string(text.substr(0, kMaxBytes)) + "... (" + std::to_string(text.size()) + " bytes)";
}

}  // namespace vitower
