#include "model/inspect.h"

#include "checkpoint_folder.h"
#include "gmock/gmock.h"

namespace vitower {
namespace {

using ::testing::HasSubstr;

TEST(Inspect, RandomShapeIsWhatItsCheckpointWouldBe) {
  const auto drawn = InspectCheckpoint("random:tiny");
  ASSERT_TRUE(drawn.ok()) << drawn.status();
  const CheckpointFolder folder;
  const auto written = InspectCheckpoint(folder.path().string());
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(drawn->folder, "random:tiny");
  EXPECT_TRUE(drawn->files.empty());
  EXPECT_EQ(drawn->stored_dtype, written->stored_dtype);
  EXPECT_EQ(drawn->tensor_count, written->tensor_count);
  EXPECT_EQ(drawn->parameter_count, written->parameter_count);
  EXPECT_EQ(drawn->weight_bytes, written->weight_bytes);
  EXPECT_EQ(drawn->tower.out_hidden_size, written->tower.out_hidden_size);
  EXPECT_EQ(drawn->image_processor.max_pixels, written->image_processor.max_pixels);
  EXPECT_EQ(drawn->video_processor->max_pixels, written->video_processor->max_pixels);
}

TEST(Inspect, LargeRandomShapesAreNotDrawn) {
  const auto summary = InspectCheckpoint("random:32b");
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->tensor_count, 351);
  EXPECT_EQ(summary->weight_bytes >> 20, 1135);  // as the model's own tower
}

TEST(Inspect, RandomShapesAreRefusedAsServingWould) {
  EXPECT_THAT(std::string(InspectCheckpoint("random:7b").status().message()), HasSubstr("unknown shape \"7b\""));
  EXPECT_THAT(std::string(InspectCheckpoint("random:2b", DType::kFp16).status().message()),
              HasSubstr("random:2b: fp16 is not served on a CPU"));
}

}  // namespace
}  // namespace vitower
