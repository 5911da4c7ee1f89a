#include "cli/bench_mix.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/parse.h"

namespace vitower {
namespace {

constexpr std::array<std::pair<std::string_view, PayloadKind>, 5> kKinds = {{{"jpeg", PayloadKind::kJpeg},
                                                                             {"png", PayloadKind::kPng},
                                                                             {"raw", PayloadKind::kRaw},
                                                                             {"patches", PayloadKind::kPatches},
                                                                             {"clip", PayloadKind::kClip}}};
constexpr int64_t kMaxSide = 16'384;
constexpr int64_t kMaxFrames = 4'096;
constexpr int64_t kPatchSide = 32;  // pixels of a merged patch

absl::Status Bad(const std::string& part, const std::string& why) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", part, "\": ", why, "; a part is KIND:WIDTHxHEIGHT[xFRAMES][=SHARE], such as jpeg:448x448=3"));
}

std::optional<PayloadKind> KindNamed(std::string_view name) {
  const auto* found =
      std::find_if(kKinds.begin(), kKinds.end(), [name](const auto& kind) { return kind.first == name; });
  return found == kKinds.end() ? std::nullopt : std::optional(found->second);
}

absl::StatusOr<std::vector<int64_t>> Sizes(const std::string& part, const std::string& text) {
  std::vector<int64_t> sizes;
  for (const std::string& number : std::vector<std::string>(absl::StrSplit(text, 'x'))) {
    const absl::StatusOr<int64_t> size = ParseInt(number);
    if (!size.ok() || *size < 1) return Bad(part, absl::StrCat("\"", number, "\" is no size"));
    sizes.push_back(*size);
  }
  return sizes;
}

absl::Status CheckSizes(const MixPart& part) {
  if (part.width > kMaxSide || part.height > kMaxSide || part.frames > kMaxFrames) {
    return Bad(part.name,
               absl::StrCat("sides are at most ", kMaxSide, " pixels, clips at most ", kMaxFrames, " frames"));
  }
  if (part.kind == PayloadKind::kPatches && (part.width % kPatchSide != 0 || part.height % kPatchSide != 0)) {
    return Bad(part.name, absl::StrCat("the sides of patches must be multiples of ", kPatchSide));
  }
  if (part.kind == PayloadKind::kClip && (part.width % 2 != 0 || part.height % 2 != 0)) {
    return Bad(part.name, "the sides of a clip must be even");
  }
  return absl::OkStatus();
}

absl::StatusOr<MixPart> ParsePart(const std::string& text) {
  const std::pair<std::string, std::string> what_and_share = absl::StrSplit(text, absl::MaxSplits('=', 1));
  MixPart part;
  part.name = what_and_share.first;
  if (!what_and_share.second.empty()) {
    const absl::StatusOr<double> share = ParseNumber(what_and_share.second);
    if (!share.ok() || *share <= 0) return Bad(text, "the share must be a number above 0");
    part.share = *share;
  }
  const std::pair<std::string, std::string> kind_and_size = absl::StrSplit(part.name, absl::MaxSplits(':', 1));
  const std::optional<PayloadKind> kind = KindNamed(kind_and_size.first);
  if (!kind) return Bad(text, "the kind must be jpeg, png, raw, patches or clip");
  part.kind = *kind;
  const absl::StatusOr<std::vector<int64_t>> sizes = Sizes(text, kind_and_size.second);
  if (!sizes.ok()) return sizes.status();
  if (sizes->size() != (part.kind == PayloadKind::kClip ? 3U : 2U)) {
    return Bad(text, part.kind == PayloadKind::kClip ? "a clip needs WIDTHxHEIGHTxFRAMES" : "it needs WIDTHxHEIGHT");
  }
  part.width = (*sizes)[0];
  part.height = (*sizes)[1];
  if (sizes->size() == 3) part.frames = (*sizes)[2];
  if (absl::Status status = CheckSizes(part); !status.ok()) return status;
  return part;
}

std::vector<double> Shares(const std::vector<MixPart>& mix) {
  std::vector<double> shares;
  std::transform(mix.begin(), mix.end(), std::back_inserter(shares), [](const MixPart& part) { return part.share; });
  return shares;
}

}  // namespace

absl::StatusOr<std::vector<MixPart>> ParseMix(std::string_view text) {
  std::vector<MixPart> mix;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(std::string(text), ','))) {
    absl::StatusOr<MixPart> parsed = ParsePart(part);
    if (!parsed.ok()) return parsed.status();
    mix.push_back(*std::move(parsed));
  }
  return mix;
}

MixPicker::MixPicker(const std::vector<MixPart>& mix, uint64_t seed) : random_(seed) {
  const std::vector<double> shares = Shares(mix);
  parts_ = std::discrete_distribution<size_t>(shares.begin(), shares.end());
}

}  // namespace vitower
