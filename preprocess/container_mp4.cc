#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "preprocess/container.h"
#include "preprocess/mp4_box.h"
#include "preprocess/mp4_index.h"

namespace vitower {
namespace {

bool HoldsTheClip(std::string_view type) { return type == "mdat" || type == "moov" || type == "moof"; }

}  // namespace

absl::Status CheckMp4(ByteView file) {
  bool found_moov = false;
  size_t offset = 0;
  while (const std::optional<Mp4Box> box = ReadMp4Box(file, offset, file.size())) {
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
  return CheckMp4Index(file);
}

bool IsFragmented(ByteView file) {
  size_t offset = 0;
  while (const std::optional<Mp4Box> box = ReadMp4Box(file, offset, file.size())) {
    if (box->type == "moof") return true;
    if (box->end >= file.size()) return false;
    offset = static_cast<size_t>(box->end);
  }
  return false;
}

}  // namespace vitower
