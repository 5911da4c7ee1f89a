// What an item is made of does not change its rows: stills, clips, slices, patches.
#include <algorithm>
#include <iostream>
#include <limits>

#include "frames_maker.h"
#include "model/encoder.h"
#include "patches_maker.h"
#include "tiny_encoder.h"

namespace vitower {
namespace {

std::vector<std::vector<float>> Alone(Encoder& encoder, TowerInput item) { return RowsOf(Encode(encoder, {item}), 0); }

// The clip with its last frame once more.
Frames Padded(const Frames& odd) {
  const int64_t frame_bytes = odd.height * odd.width * 3;
  std::vector<uint8_t> rgb(odd.rgb.begin(), odd.rgb.end());
  rgb.insert(rgb.end(), odd.rgb.end() - frame_bytes, odd.rgb.end());
  Frames even = odd;
  even.frame_count += 1;
  even.rgb = std::move(rgb);
  return even;
}

TEST(EncoderInputs, OddClipsRepeatTheirLastFrame) {
  for (const DType dtype : {DType::kFp32, DType::kBf16}) {
    const auto encoder = TinyEncoder(dtype);
    for (const int64_t frame_count : {1, 3, 5}) {
      const Frames odd = RandomClip(frame_count, 4, 6, 9);
      const Frames even = Padded(odd);
      EXPECT_EQ(Alone(*encoder, &odd), Alone(*encoder, &even)) << frame_count << " frames";
    }
  }
}

// Rows of one slice of a clip, which has `slices` of them.
std::vector<float> SliceOf(const std::vector<float>& rows, int64_t slice, int64_t slices) {
  const auto size = static_cast<int64_t>(rows.size()) / slices;
  return {rows.begin() + slice * size, rows.begin() + (slice + 1) * size};
}

TEST(EncoderInputs, SlicesOfAClipDoNotAttendToEachOther) {
  const auto encoder = TinyEncoder(DType::kFp32);
  const Frames clip = RandomClip(8, 4, 6, 3);
  Frames other = clip;
  std::vector<uint8_t> rgb(clip.rgb.begin(), clip.rgb.end());
  std::fill_n(rgb.begin() + 4 * 64 * 96 * 3, 2 * 64 * 96 * 3, 200);  // the third slice, white
  other.rgb = std::move(rgb);
  const auto rows = Alone(*encoder, &clip);
  const auto bent = Alone(*encoder, &other);
  for (size_t output = 0; output < rows.size(); ++output) {
    for (int64_t slice = 0; slice < 4; ++slice) {
      const bool same = SliceOf(rows[output], slice, 4) == SliceOf(bent[output], slice, 4);
      EXPECT_EQ(same, slice != 2) << "output " << output << ", slice " << slice;
    }
  }
}

TEST(EncoderInputs, SliceAloneHasTheRowsItHasInItsClip) {
  const auto encoder = TinyEncoder(DType::kFp32);
  const Frames clip = RandomClip(5, 6, 4, 4);
  const auto rows = Alone(*encoder, &clip);
  double worst = 0;
  for (int64_t slice = 0; slice < 3; ++slice) {
    const Frames part = PartOf(clip, 2 * slice, std::min<int64_t>(2 * slice + 2, 5));
    const auto alone = Alone(*encoder, &part);
    for (size_t i = 0; i < rows.size(); ++i) worst = std::max(worst, RelL2(SliceOf(rows[i], slice, 3), alone[i]));
  }
  std::cout << "fp32, slice in its clip against alone: relL2 " << worst << "\n";
  EXPECT_LE(worst, 1e-6);
}

TEST(EncoderInputs, PatchesOfAnItemGiveItsRowsBitForBit) {
  for (const DType dtype : {DType::kFp32, DType::kBf16}) {
    const auto encoder = TinyEncoder(dtype);
    for (const Frames& frames : {RandomStill(4, 6, 1), RandomClip(5, 2, 4, 2)}) {
      const auto expected = Alone(*encoder, &frames);
      for (const DType sent : {DType::kFp32, dtype}) {  // pixels are rounded to the tower's dtype on either side
        const PatchRows patches = PatchesOf(frames, sent);
        EXPECT_EQ(Alone(*encoder, &patches), expected) << Name(sent) << " to " << Name(dtype);
      }
    }
  }
}

TEST(EncoderInputs, PatchesOfHalfPrecisionAreReadAsSuch) {
  const auto encoder = TinyEncoder(DType::kFp32);
  const Frames frames = RandomStill(4, 6, 1);
  const auto expected = Alone(*encoder, &frames);
  for (const auto& [dtype, limit] : {std::pair(DType::kFp16, 1e-3), std::pair(DType::kBf16, 8e-3)}) {
    const PatchRows patches = PatchesOf(frames, dtype);
    const double error = RelL2(Alone(*encoder, &patches), expected);
    std::cout << "patches in " << Name(dtype) << ", tower in fp32: relL2 " << error << "\n";
    EXPECT_GT(error, 0);
    EXPECT_LT(error, limit);  // their own rounding: 2^-12 and 2^-9
  }
}

TEST(EncoderInputs, ValuesThatAreNotFiniteStayInTheirItem) {
  const Frames still = RandomStill(4, 6, 1);
  const PatchRows clean = PatchesOf(RandomClip(3, 4, 6, 2));
  for (const DType dtype : {DType::kFp32, DType::kBf16}) {
    const auto encoder = TinyEncoder(dtype);
    const EncodedBatch expected = Encode(*encoder, {&still, &clean, &still, &clean});
    for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      std::vector<float> values(clean.values.size() / 4, poison);
      const PatchRows bad{Encoded(values, DType::kFp32), DType::kFp32, clean.grid};
      const EncodedBatch batch = Encode(*encoder, {&still, &bad, &still, &clean});
      for (const size_t item : {0, 2, 3}) EXPECT_EQ(RowsOf(batch, item), RowsOf(expected, item)) << item;
      const auto bad_rows = RowsOf(batch, 1);
      for (const float value : bad_rows[0]) ASSERT_FALSE(std::isfinite(value));
    }
  }
}

}  // namespace
}  // namespace vitower
