#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/encoder.h"
#include "server/mutex.h"

namespace vitower {

// The strings of a puppet encoder, kept by the test while the server owns the encoder. Thread-safe.
class Puppet final {
 public:
  enum class Mood { kWork, kFail, kThrow, kTooFewRows, kNoMemory };

  // Passes that begin from now on wait until Release. Lets the test look at what is queued behind one.
  void Hold();
  void Release();
  // Blocks until `passes` passes have begun since the puppet was made (a warm-up is one).
  void AwaitPasses(size_t passes);
  void SetMood(Mood mood);
  // Of passes that hold an item of kPoisonPixel.
  void SetPoison(Mood mood);
  // Passes of more patches run out of memory.
  void SetMemory(int64_t patches);

  // The grids of every batch so far, in order.
  std::vector<std::vector<GridThw>> batches() const;
  size_t passes() const { return batches().size(); }

 private:
  friend class PuppetEncoder;
  Mood Begin(std::vector<GridThw> grids, bool poisoned);

  mutable Mutex mu_;
  CondVar changed_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  Mood mood_ ABSL_GUARDED_BY(mu_) = Mood::kWork;
  Mood poison_ ABSL_GUARDED_BY(mu_) = Mood::kFail;
  int64_t memory_patches_ ABSL_GUARDED_BY(mu_) = std::numeric_limits<int64_t>::max();
  std::vector<std::vector<GridThw>> batches_ ABSL_GUARDED_BY(mu_);
};

// An item whose first pixel is one of these gets a NaN, or a value that fits bf16 but not fp16, in its last row.
inline constexpr uint8_t kNanPixel[3] = {1, 2, 3};
inline constexpr uint8_t kHugePixel[3] = {4, 5, 6};
// No pass that holds such an item succeeds.
inline constexpr uint8_t kPoisonPixel[3] = {7, 8, 9};

// The value an item's row has in an output (0: tokens, 1 + i: DeepStack level i). Made from the first pixel of the
// first frame of the row's temporal slice, or the first bytes of the row's patches, from the grid and the place; a
// small whole number in every dtype: a row put in the wrong place shows. A clip may hold fewer frames than its grid
// needs, as the real ones do; a row takes the last then.
float PuppetValue(const Frames& frames, int64_t row, int64_t col, int64_t output);
float PuppetValue(const PatchRows& patches, int64_t row, int64_t col, int64_t output);

// An encoder without a tower, with out_hidden_size 8, two DeepStack levels, patches of 16 and the pixel limits
// [1024, 1 << 24], of clips [4096, 1 << 24].
std::unique_ptr<Encoder> MakePuppetEncoder(std::shared_ptr<Puppet> puppet, DType dtype = DType::kFp32,
                                           const std::string& device = "puppet:0");
EncoderInfo PuppetInfo(DType dtype = DType::kFp32);

}  // namespace vitower
