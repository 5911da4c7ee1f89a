#include "model/patch_rows.h"

#include "frames_maker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/patchify.h"
#include "patches_maker.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

// By the definition: each element of each row looks its pixel up.
float Expected(const Frames& frames, int64_t patch, int64_t element) {
  const int64_t per_slice = frames.grid.h * frames.grid.w;
  const int64_t slice = patch / per_slice;
  const int64_t n = patch % per_slice;
  const int64_t row = n / 4 / (frames.grid.w / 2) * 2 + n / 2 % 2;
  const int64_t col = n / 4 % (frames.grid.w / 2) * 2 + n % 2;
  const int64_t channel = element / 512;
  const int64_t time = element / 256 % 2;
  const int64_t frame = std::min(slice * 2 + time, frames.frame_count - 1);
  const int64_t y = row * 16 + element / 16 % 16;
  const int64_t x = col * 16 + element % 16;
  return (frames.rgb[((frame * frames.height + y) * frames.width + x) * 3 + channel] - 127.5F) / 127.5F;
}

TEST(PatchRows, FollowTheDefinition) {
  for (const Frames& frames : {RandomStill(4, 6, 1), RandomStill(2, 2, 2), RandomClip(2, 2, 4, 3),
                               RandomClip(3, 4, 2, 4), RandomClip(6, 6, 4, 5), RandomClip(7, 2, 2, 6)}) {
    const std::vector<float> rows = PixelValues(frames, TowerConfig{}, ImageProcessorConfig{});
    ASSERT_EQ(static_cast<int64_t>(rows.size()), frames.grid.patches() * 1536);
    for (int64_t i = 0; i < static_cast<int64_t>(rows.size()); ++i) {
      ASSERT_EQ(rows[i], Expected(frames, i / 1536, i % 1536)) << "element " << i;
    }
  }
}

TEST(PatchRows, PartsMakeTheWholeAndBf16IsFp32Rounded) {
  const Frames frames = RandomClip(3, 4, 4, 5);
  const std::vector<float> whole = PixelValues(frames, TowerConfig{}, ImageProcessorConfig{});
  std::vector<Bf16> parts(whole.size());
  const auto table = MakePixelTable(ImageProcessorConfig{}, Bf16{});
  FillPatchRows(frames, TowerConfig{}, table, 0, 5, parts.data());
  FillPatchRows(frames, TowerConfig{}, table, 5, 32, parts.data() + 5 * 1536);
  for (size_t i = 0; i < whole.size(); ++i) {
    Bf16 expected = 0;
    Store(whole[i], expected);
    ASSERT_EQ(parts[i], expected);
  }
}

TEST(PatchRows, AllLevelsStayDistinctInBf16) {
  const auto table = MakePixelTable(ImageProcessorConfig{}, Bf16{});
  for (int level = 1; level < 256; ++level) {
    ASSERT_LT(ToFloat(table.values[0][level - 1]), ToFloat(table.values[0][level]));
  }
}

TEST(PatchRows, FramesThatDoNotFitAreRefusedWithWhatTheyHold) {
  const auto refusal = [](const std::function<void(Frames&)>& bend) {
    Frames frames = RandomStill(4, 6, 1);
    bend(frames);
    const absl::Status status = CheckItem(frames, TowerConfig{});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refusal([](Frames& f) { f.grid.t = 0; }), HasSubstr("(0, 4, 6) has a side of 0"));
  EXPECT_THAT(refusal([](Frames& f) { f.grid.h = int64_t{1} << 40; }), HasSubstr("has a side of 1099511627776"));
  EXPECT_THAT(refusal([](Frames& f) { f.grid.w = 5; }), HasSubstr("multiples of 2"));
  EXPECT_THAT(refusal([](Frames& f) { f.height = 65; }), HasSubstr("65 x 96 pixels, grid (1, 4, 6) takes 64 x 96"));
  EXPECT_THAT(refusal([](Frames& f) { f.frame_count = 3; }), HasSubstr("frame_count 3, grid (1, 4, 6) takes 1 to 2"));
  EXPECT_THAT(refusal([](Frames& f) { f.frame_count = 0; }), HasSubstr("frame_count 0"));
  EXPECT_THAT(refusal([](Frames& f) { f.frame_count = 2; }), HasSubstr("rgb has 18432 bytes, 2 x 64 x 96 x 3 takes"));
  EXPECT_THAT(refusal([](Frames& f) { f.rgb = std::string("x"); }), HasSubstr("rgb has 1 bytes"));
  for (int64_t frame_count : {1, 2, 3, 4, 5}) {
    EXPECT_TRUE(CheckItem(RandomClip(frame_count, 4, 6, 1), TowerConfig{}).ok()) << frame_count;
  }
}

TEST(PatchRows, PatchesThatDoNotFitAreRefusedWithWhatTheyHold) {
  const auto refusal = [](size_t bytes, DType dtype, GridThw grid) {
    const absl::Status status = CheckItem(PatchRows{std::string(bytes, '\0'), dtype, grid}, TowerConfig{});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  constexpr int64_t kHuge = int64_t{1} << 62;
  EXPECT_THAT(refusal(0, DType::kFp32, {0, 2, 2}), HasSubstr("patches: grid (0, 2, 2) has a side of 0"));
  EXPECT_THAT(refusal(0, DType::kFp32, {1, -2, 2}), HasSubstr("has a side of -2"));
  EXPECT_THAT(refusal(0, DType::kFp32, {kHuge, kHuge, kHuge}), HasSubstr("expected 1 to 65536"));
  EXPECT_THAT(refusal(0, DType::kFp32, {65536, 65536, 65536}), HasSubstr("values has 0 bytes"));
  EXPECT_THAT(refusal(6144, DType::kFp32, {1, 2, 3}), HasSubstr("must be multiples of 2"));
  EXPECT_THAT(refusal(24575, DType::kFp32, {1, 2, 2}),
              HasSubstr("values has 24575 bytes, grid (1, 2, 2) of 1536 fp32 a patch takes 24576"));
  EXPECT_THAT(refusal(24576, DType::kFp16, {1, 2, 2}), HasSubstr("1536 fp16 a patch takes 12288"));
  for (const DType dtype : {DType::kFp32, DType::kFp16, DType::kBf16}) {
    EXPECT_TRUE(CheckItem(PatchesOf(RandomClip(3, 2, 4, 1), dtype), TowerConfig{}).ok()) << Name(dtype);
  }
}

}  // namespace
}  // namespace vitower
