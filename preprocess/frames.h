#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace vitower {

// A grid of patches: temporal slices, rows, columns. Rows and columns are multiples of the merge size.
struct GridThw {
  int64_t t = 0;
  int64_t h = 0;
  int64_t w = 0;

  int64_t patches() const { return t * h * w; }
  bool operator==(const GridThw&) const = default;
};

// No grid has a longer side: keeps every product of its sides below 2^63.
inline constexpr int64_t kMaxGridSide = 1 << 16;

// Bytes that came from a resizer (a vector) or off the wire (a string), taken over without a copy.
class OwnedBytes final {
 public:
  OwnedBytes() = default;
  OwnedBytes(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}  // NOLINT(google-explicit-constructor)
  OwnedBytes(std::string bytes) : bytes_(std::move(bytes)) {}           // NOLINT(google-explicit-constructor)

  const uint8_t* data() const {
    if (const auto* text = std::get_if<std::string>(&bytes_)) return reinterpret_cast<const uint8_t*>(text->data());
    return std::get<std::vector<uint8_t>>(bytes_).data();
  }
  size_t size() const {
    return std::visit([](const auto& bytes) { return bytes.size(); }, bytes_);
  }
  const uint8_t* begin() const { return data(); }
  const uint8_t* end() const { return data() + size(); }
  uint8_t operator[](size_t i) const { return data()[i]; }

 private:
  std::variant<std::vector<uint8_t>, std::string> bytes_;
};

// An image or clip as the tower takes it: decoded, upright, resized. What flows from preprocess/ to model/.
// A still is one frame, and a clip of an odd number of frames ends unpadded: the tower repeats the last frame where it
// makes patches.
struct Frames {
  int64_t frame_count = 0;  // at least 1
  int64_t height = 0;       // pixels, == grid.h * patch size
  int64_t width = 0;        // pixels, == grid.w * patch size
  OwnedBytes rgb;           // [frame_count, height, width, 3] uint8
  GridThw grid;             // t == ceil(frame_count / temporal patch size)
};

}  // namespace vitower
