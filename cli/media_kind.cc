#include "cli/media_kind.h"

#include <set>
#include <string>

#include "absl/strings/ascii.h"

namespace vitower {
namespace {

// HEIF and AVIF pictures lie in the container of mp4 under brands of their own.
bool IsHeif(std::string_view bytes) {
  static const std::set<std::string_view> brands = {"heic", "heix", "heim", "heis", "mif1", "msf1", "avif", "avis"};
  return bytes.size() >= 12 && bytes.substr(4, 4) == "ftyp" && brands.count(bytes.substr(8, 4)) > 0;
}

// mp4 and mov begin with an atom: its size, then one of these names.
bool BeginsWithAtom(std::string_view bytes) {
  static const std::set<std::string_view> names = {"ftyp", "moov", "mdat", "wide", "free", "skip", "pnot"};
  return bytes.size() >= 8 && names.count(bytes.substr(4, 4)) > 0 && !IsHeif(bytes);
}

bool LooksLikeClip(std::string_view bytes) {
  const bool is_matroska = bytes.substr(0, 4) == "\x1A\x45\xDF\xA3";
  const bool is_avi = bytes.size() >= 12 && bytes.substr(0, 4) == "RIFF" && bytes.substr(8, 4) == "AVI ";
  return is_matroska || is_avi || BeginsWithAtom(bytes);
}

bool IsGif(std::string_view bytes) { return bytes.substr(0, 4) == "GIF8"; }

}  // namespace

bool HasClipExtension(const std::filesystem::path& path) {
  static const std::set<std::string> extensions = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"};
  return extensions.count(absl::AsciiStrToLower(path.extension().string())) > 0;
}

MediaKind KindOf(const std::filesystem::path& path, std::string_view bytes, bool gif_clips) {
  if (IsGif(bytes)) return gif_clips ? MediaKind::kClip : MediaKind::kImage;
  return HasClipExtension(path) || LooksLikeClip(bytes) ? MediaKind::kClip : MediaKind::kImage;
}

}  // namespace vitower
