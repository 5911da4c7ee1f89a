#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "preprocess/container.h"

namespace vitower {
namespace {

constexpr uint32_t kSegment = 0x18538067;
constexpr uint32_t kCluster = 0x1F43B675;

struct Element {
  uint32_t id = 0;
  size_t body = 0;
  std::optional<uint64_t> end;  // unset: unknown, as in a live recording
};

// A number of EBML: its length is that of the leading zeros. Unset beyond `max_bytes` and outside the file.
struct Number {
  uint64_t marked = 0;  // with the marker bit, as ids are written
  uint64_t value = 0;
  size_t bytes = 0;
};

std::optional<Number> ReadNumber(ByteView file, size_t offset, size_t max_bytes) {
  size_t bytes = 1;
  while (bytes <= max_bytes && (file.U8(offset) & (0x100U >> bytes)) == 0) ++bytes;
  if (bytes > max_bytes || !file.Has(offset, bytes)) return std::nullopt;
  Number number{.bytes = bytes};
  for (size_t i = 0; i < bytes; ++i) number.marked = number.marked << 8 | file.U8(offset + i);
  number.value = number.marked & ~(uint64_t{1} << (7 * bytes));
  return number;
}

std::optional<Element> ReadElement(ByteView file, size_t offset) {
  const std::optional<Number> id = ReadNumber(file, offset, 4);
  if (!id) return std::nullopt;
  const std::optional<Number> size = ReadNumber(file, offset + id->bytes, 8);
  if (!size) return std::nullopt;
  Element element = {.id = static_cast<uint32_t>(id->marked), .body = offset + id->bytes + size->bytes, .end = {}};
  const uint64_t unknown = (uint64_t{1} << (7 * size->bytes)) - 1;
  if (size->value != unknown) element.end = element.body + size->value;
  return element;
}

absl::Status Damaged(size_t offset) {
  return absl::InvalidArgumentError(
      absl::StrCat("matroska video is truncated or damaged: no element at byte ", offset));
}

}  // namespace

// Elements side by side, down into the segment and into clusters of unknown size.
absl::Status CheckMatroska(ByteView file) {
  size_t limit = file.size();
  size_t offset = 0;
  while (offset < limit) {
    const std::optional<Element> element = ReadElement(file, offset);
    if (!element) return Damaged(offset);
    const bool known = element->end.has_value();
    if (known && *element->end > file.size()) {
      return CutShort(Container::kMatroska, element->id == kSegment ? "the segment" : "an element", *element->end,
                      file);
    }
    if (element->id == kSegment) {
      if (known) limit = static_cast<size_t>(*element->end);
      offset = element->body;
    } else if (known) {
      offset = static_cast<size_t>(*element->end);
    } else if (element->id == kCluster) {
      offset = element->body;
    } else {
      return Damaged(offset);
    }
  }
  return absl::OkStatus();
}

}  // namespace vitower
