#include "preprocess/container.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace vitower {
namespace {

// The box types an ISO media file begins with; QuickTime files may lack "ftyp".
bool BeginsLikeMp4(ByteView file) {
  const ByteView type = file.From(4);
  for (const std::string_view name : {"ftyp", "moov", "mdat", "wide", "free", "skip", "pnot"}) {
    if (type.StartsWith(name)) return true;
  }
  return false;
}

}  // namespace

std::string_view Name(Container container) {
  switch (container) {
    case Container::kMp4:
      return "mp4";
    case Container::kMatroska:
      return "matroska";
    case Container::kAvi:
      return "avi";
    case Container::kGif:
      return "gif";
  }
  return "unknown";
}

absl::StatusOr<Container> ContainerOf(ByteView file) {
  if (file.size() == 0) return absl::InvalidArgumentError("video is empty: 0 bytes");
  if (BeginsLikeMp4(file)) return Container::kMp4;
  if (file.StartsWith("\x1A\x45\xDF\xA3")) return Container::kMatroska;
  if (file.StartsWith("RIFF") && file.From(8).StartsWith("AVI ")) return Container::kAvi;
  if (file.StartsWith("GIF87a") || file.StartsWith("GIF89a")) return Container::kGif;
  return absl::InvalidArgumentError(absl::StrCat("unknown video format, it begins with the bytes \"",
                                                 absl::CHexEscape(std::string(file.Part(0, 12).Text())),
                                                 "\"; accepted are MP4, MOV, Matroska, WebM, AVI and GIF"));
}

absl::Status CheckWhole(Container container, ByteView file) {
  switch (container) {
    case Container::kMp4:
      return CheckMp4(file);
    case Container::kMatroska:
      return CheckMatroska(file);
    case Container::kAvi:
      return CheckAvi(file);
    case Container::kGif:
      return CheckGif(file);
  }
  return absl::InternalError("video container without a check");
}

absl::Status CutShort(Container container, std::string_view part, uint64_t end, ByteView file) {
  return absl::InvalidArgumentError(absl::StrCat(std::string(Name(container)),
                                                 " video is truncated: ", std::string(part), " ends at byte ", end,
                                                 ", the file has ", file.size(), " bytes"));
}

}  // namespace vitower
