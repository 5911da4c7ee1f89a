#include "model/patch_rows.h"

#include "frames_maker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/patchify.h"

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
  const int64_t frame = frames.frame_count == 1 ? 0 : slice * 2 + time;
  const int64_t y = row * 16 + element / 16 % 16;
  const int64_t x = col * 16 + element % 16;
  return (frames.rgb[((frame * frames.height + y) * frames.width + x) * 3 + channel] - 127.5F) / 127.5F;
}

TEST(PatchRows, FollowTheDefinition) {
  for (const Frames& frames : {RandomFrames(1, 4, 6, 1), RandomFrames(1, 2, 2, 2), RandomFrames(3, 6, 4, 3)}) {
    const std::vector<float> rows = PixelValues(frames, TowerConfig{}, ImageProcessorConfig{});
    ASSERT_EQ(static_cast<int64_t>(rows.size()), frames.grid.patches() * 1536);
    for (int64_t i = 0; i < static_cast<int64_t>(rows.size()); ++i) {
      ASSERT_EQ(rows[i], Expected(frames, i / 1536, i % 1536)) << "element " << i;
    }
  }
}

TEST(PatchRows, PartsMakeTheWholeAndBf16IsFp32Rounded) {
  const Frames frames = RandomFrames(2, 4, 4, 5);
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
    Frames frames = RandomFrames(1, 4, 6, 1);
    bend(frames);
    const absl::Status status = CheckFrames(frames, TowerConfig{});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refusal([](Frames& f) { f.grid.t = 0; }), HasSubstr("(0, 4, 6) has a side of 0"));
  EXPECT_THAT(refusal([](Frames& f) { f.grid.h = int64_t{1} << 40; }), HasSubstr("has a side of 1099511627776"));
  EXPECT_THAT(refusal([](Frames& f) { f.grid.w = 5; }), HasSubstr("multiples of 2"));
  EXPECT_THAT(refusal([](Frames& f) { f.height = 65; }), HasSubstr("65 x 96 pixels, grid (1, 4, 6) takes 64 x 96"));
  EXPECT_THAT(refusal([](Frames& f) { f.frame_count = 3; }), HasSubstr("frame_count 3"));
  EXPECT_THAT(refusal([](Frames& f) { f.rgb.pop_back(); }), HasSubstr("rgb has 18431 bytes"));
  EXPECT_TRUE(CheckFrames(RandomFrames(1, 4, 6, 1), TowerConfig{}).ok());
  EXPECT_TRUE(CheckFrames(RandomFrames(2, 4, 6, 1), TowerConfig{}).ok());
}

}  // namespace
}  // namespace vitower
