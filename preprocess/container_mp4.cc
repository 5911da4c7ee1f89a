#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "preprocess/container.h"

namespace vitower {
namespace {

struct Box {
  std::string_view type;
  size_t body = 0;   // offset of what follows the header
  uint64_t end = 0;  // may lie beyond the file
};

uint64_t U64(ByteView file, size_t offset) {
  return uint64_t{file.U32(offset, Endian::kBig)} << 32 | file.U32(offset + 4, Endian::kBig);
}

// The box at `offset`, up to `limit` where its size is 0. Unset where there is no header, or one that makes no sense.
std::optional<Box> ReadBox(ByteView file, size_t offset, size_t limit) {
  if (offset >= limit || limit - offset < 8) return std::nullopt;
  Box box = {.type = file.Part(offset + 4, 4).Text(), .body = offset + 8};
  uint64_t size = file.U32(offset, Endian::kBig);
  if (size == 1 && limit - offset >= 16) {
    size = U64(file, offset + 8);
    box.body += 8;
  }
  if (size == 0) size = limit - offset;
  if (size < box.body - offset || size > UINT64_MAX - offset) return std::nullopt;
  box.end = offset + size;
  return box;
}

bool HoldsBoxes(std::string_view type) {
  for (const std::string_view name : {"moov", "trak", "mdia", "minf", "stbl", "moof", "traf"}) {
    if (type == name) return true;
  }
  return false;
}

// Samples that a table claims without a byte of its own for each of them; at least so many bytes of data they need.
uint64_t SamplesOnTrust(ByteView file, const Box& box) {
  const auto u32 = [&](size_t offset) { return uint64_t{file.U32(box.body + offset, Endian::kBig)}; };
  constexpr uint64_t kPerSampleFields = 0xF00;
  if (box.type == "stsz") return u32(4) != 0 ? u32(8) : 0;
  if (box.type == "trun") return (u32(0) & kPerSampleFields) == 0 ? u32(4) : 0;
  return 0;
}

// Sums SamplesOnTrust over the boxes below; boxes nest seven deep at most, since only those of a list are opened.
uint64_t CountOnTrust(ByteView file, size_t begin, size_t limit, int depth) {
  uint64_t samples = 0;
  while (const std::optional<Box> box = ReadBox(file, begin, limit)) {
    const size_t end = box->end < limit ? static_cast<size_t>(box->end) : limit;
    samples += SamplesOnTrust(file, *box);
    if (depth > 0 && HoldsBoxes(box->type)) samples += CountOnTrust(file, box->body, end, depth - 1);
    begin = end;
  }
  return samples;
}

bool HoldsTheClip(std::string_view type) { return type == "mdat" || type == "moov" || type == "moof"; }

}  // namespace

absl::Status CheckMp4(ByteView file) {
  bool found_moov = false;
  size_t offset = 0;
  while (const std::optional<Box> box = ReadBox(file, offset, file.size())) {
    if (box->end > file.size()) {
      if (HoldsTheClip(box->type)) {
        return CutShort(Container::kMp4, absl::StrCat("box ", std::string(box->type)), box->end, file);
      }
      break;  // bytes of no meaning behind the clip
    }
    found_moov = found_moov || box->type == "moov";
    offset = static_cast<size_t>(box->end);
  }
  if (!found_moov) {
    return absl::InvalidArgumentError("mp4 video has no moov box: it is truncated or was never finished");
  }
  constexpr int kDepth = 7;
  const uint64_t samples = CountOnTrust(file, 0, file.size(), kDepth);
  if (samples > file.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("mp4 video claims ", samples, " samples in a file of ", file.size(), " bytes"));
  }
  return absl::OkStatus();
}

bool IsFragmented(ByteView file) {
  size_t offset = 0;
  while (const std::optional<Box> box = ReadBox(file, offset, file.size())) {
    if (box->type == "moof") return true;
    if (box->end >= file.size()) return false;
    offset = static_cast<size_t>(box->end);
  }
  return false;
}

}  // namespace vitower
