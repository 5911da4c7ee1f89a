#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace vitower {

enum class PayloadKind { kJpeg, kPng, kRaw, kPatches, kClip };

// One kind of item of a workload.
struct MixPart {
  std::string name;  // as it was written, without the share: "jpeg:224x224"
  PayloadKind kind = PayloadKind::kJpeg;
  int64_t width = 0;  // pixels
  int64_t height = 0;
  int64_t frames = 1;  // above 1 for clips only
  double share = 1;    // of the items, relative to the others'
};

// "jpeg:448x448=3,raw:1280x704,clip:320x608x16=0.5": KIND:WIDTHxHEIGHT[xFRAMES][=SHARE], separated by commas. Kinds:
// jpeg, png, raw (RGB), patches (fp32 rows) and clip, which alone has FRAMES. INVALID_ARGUMENT names the part.
absl::StatusOr<std::vector<MixPart>> ParseMix(std::string_view text);

// Which part comes next, by shares; the same order for the same seed. Not thread-safe.
class MixPicker final {
 public:
  MixPicker(const std::vector<MixPart>& mix, uint64_t seed);
  size_t Next() { return parts_(random_); }

 private:
  std::mt19937_64 random_;
  std::discrete_distribution<size_t> parts_;
};

}  // namespace vitower
