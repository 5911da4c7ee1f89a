#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/types/span.h"

namespace vitower {

enum class Endian : uint8_t { kLittle, kBig };

// Bytes of unknown origin, read with bounds known. A value type; the bytes must outlive it.
// The number readers answer 0 outside the bytes: ask Has first where 0 could be mistaken for a value.
class ByteView {
 public:
  explicit ByteView(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}

  size_t size() const { return bytes_.size(); }
  bool Has(size_t offset, size_t count) const { return offset <= size() && count <= size() - offset; }
  uint32_t U8(size_t offset) const { return Has(offset, 1) ? bytes_[offset] : 0; }
  uint32_t U16(size_t offset, Endian endian) const {
    return Has(offset, 2) ? Join(U8(offset), U8(offset + 1), 8, endian) : 0;
  }
  uint32_t U32(size_t offset, Endian endian) const {
    return Has(offset, 4) ? Join(U16(offset, endian), U16(offset + 2, endian), 16, endian) : 0;
  }
  uint32_t Little24(size_t offset) const {
    return Has(offset, 3) ? U16(offset, Endian::kLittle) | U8(offset + 2) << 16 : 0;
  }

  // What is there of [offset, offset + count).
  ByteView Part(size_t offset, size_t count) const {
    return offset < size() ? ByteView(bytes_.subspan(offset, count)) : ByteView({});
  }
  ByteView From(size_t offset) const { return Part(offset, size()); }
  std::string_view Text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  bool StartsWith(std::string_view magic) const { return Text().substr(0, magic.size()) == magic; }

 private:
  static uint32_t Join(uint32_t first, uint32_t second, int bits, Endian endian) {
    return endian == Endian::kBig ? first << bits | second : second << bits | first;
  }

  absl::Span<const uint8_t> bytes_;
};

}  // namespace vitower
