#include "checkpoint_folder.h"
#include "gmock/gmock.h"
#include "model/inspect.h"

namespace vitower {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct ProcessorCase {
  const char* field;
  json value;
  const char* message;
};

TEST(ProcessorConfig, SettingsThatTheServerWouldContradictAreRefusedByField) {
  const ProcessorCase cases[] = {{"patch_size", 14, "patch_size: is 14, the tower's patch_size is 16"},
                                 {"merge_size", 4, "merge_size: is 4, the tower's spatial_merge_size is 2"},
                                 {"temporal_patch_size", 1, "temporal_patch_size: is 1"},
                                 {"patch_size", nullptr, "patch_size: missing"},
                                 {"image_mean", {0.5, 0.5}, "image_mean: is [0.5,0.5], expected three numbers"},
                                 {"image_mean", {0.5, 11, 0.5}, "image_mean: is [0.5,11,0.5], expected three numbers"},
                                 {"image_mean", {1e300, 0, 0}, "image_mean: is [1e+300,0,0], expected three numbers"},
                                 {"image_std", {0.5, 0.0, 0.5}, "[0.5,0.0,0.5], expected three numbers from 0.001"},
                                 {"image_std", {0.5, 1e-40, 0.5}, "image_std: is [0.5,1e-40,0.5], expected three"},
                                 {"image_std", {0.5, 1e4, 0.5}, "image_std: is [0.5,10000.0,0.5], expected three"},
                                 {"do_rescale", false, "do_rescale: is false"},
                                 {"do_normalize", false, "do_normalize: is false"},
                                 {"rescale_factor", 0.1, "rescale_factor: is 0.1, expected 1/255"},
                                 {"resample", 2, "resample: is 2, expected 3"},
                                 {"size", json::object(), "give 0 to 0 pixels"},
                                 {"min_pixels", 99999999, "give 99999999 to 16777216 pixels"}};
  const CheckpointFolder folder;
  const std::string processor = ReadText(folder / "preprocessor_config.json");
  for (const ProcessorCase& one : cases) {
    folder.EditJson("preprocessor_config.json", [&](json& root) { root[one.field] = one.value; });
    EXPECT_THAT(std::string(InspectCheckpoint(folder.path().string()).status().message()),
                AllOf(HasSubstr("preprocessor_config.json"), HasSubstr(one.message)));
    WriteText(folder / "preprocessor_config.json", processor);
  }
}

TEST(ProcessorConfig, PixelsBesideSizeWin) {
  const CheckpointFolder folder;
  folder.EditJson("preprocessor_config.json", [](json& root) {
    root["min_pixels"] = 4095;
    root["max_pixels"] = 1310720;
  });
  const auto summary = InspectCheckpoint(folder.path().string());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->image_processor.min_pixels, 4095);
  EXPECT_EQ(summary->image_processor.max_pixels, 1310720);
}

TEST(ProcessorConfig, IsFoundInsideProcessorConfig) {
  const CheckpointFolder folder;
  const json processor = json::parse(ReadText(folder / "preprocessor_config.json"));
  std::filesystem::remove(folder / "preprocessor_config.json");
  EXPECT_THAT(std::string(InspectCheckpoint(folder.path().string()).status().message()),
              HasSubstr("neither preprocessor_config.json nor image_processor in processor_config.json"));
  WriteText(folder / "processor_config.json", json{{"image_processor", processor}}.dump());
  const auto summary = InspectCheckpoint(folder.path().string());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->image_processor.min_pixels, 65536);
}

TEST(ProcessorConfig, WhatProcessorConfigHoldsWins) {
  const CheckpointFolder folder;
  json shared = {{"processor_class", "Qwen3VLProcessor"}};
  for (const auto& [member, file] : {std::pair("image_processor", "preprocessor_config.json"),
                                     std::pair("video_processor", "video_preprocessor_config.json")}) {
    WriteText(folder / "processor_config.json", shared.dump());
    EXPECT_TRUE(InspectCheckpoint(folder.path().string()).ok());
    shared[member] = json::parse(ReadText(folder / file));
    shared[member]["size"]["longest_edge"] = 1'000'000;
  }
  WriteText(folder / "processor_config.json", shared.dump());
  const auto summary = InspectCheckpoint(folder.path().string());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->image_processor.max_pixels, 1'000'000);
  EXPECT_EQ(summary->video_processor->max_pixels, 1'000'000);
  shared["video_processor"] = 7;
  WriteText(folder / "processor_config.json", shared.dump());
  EXPECT_THAT(std::string(InspectCheckpoint(folder.path().string()).status().message()),
              HasSubstr("processor_config.json: video_processor: is 7, expected an object"));
}

constexpr char kVideoFile[] = "video_preprocessor_config.json";

TEST(ProcessorConfig, ClipsAreLimitedAndSampledAsTheirFileSays) {
  const CheckpointFolder folder;
  const auto read = [&] {
    const auto summary = InspectCheckpoint(folder.path().string());
    EXPECT_TRUE(summary.ok()) << summary.status();
    return *summary->video_processor;
  };
  const VideoProcessorConfig hub = read();
  EXPECT_EQ(hub.min_pixels, 4096);
  EXPECT_EQ(hub.max_pixels, 25165824);
  EXPECT_EQ(hub.fps, 2);
  EXPECT_EQ(hub.min_frames, 4);
  EXPECT_EQ(hub.max_frames, 768);
  folder.EditJson(kVideoFile, [](json& root) {
    root["size"]["longest_edge"] = 234881024;
    root["min_pixels"] = 1;  // nothing to the reference's video processor
    root.update({{"fps", 1.5}, {"num_frames", nullptr}, {"min_frames", 2.0}, {"max_frames", 64}});
    root.update({{"do_sample_frames", true}, {"cap_pixels_per_frame", nullptr}});
  });
  const VideoProcessorConfig own = read();
  EXPECT_EQ(own.min_pixels, 4096);
  EXPECT_EQ(own.max_pixels, 234881024);
  EXPECT_EQ(own.fps, 1.5);
  EXPECT_EQ(own.min_frames, 2);
  EXPECT_EQ(own.max_frames, 64);
}

TEST(ProcessorConfig, CheckpointWithoutAVideoProcessorHasNone) {
  const CheckpointFolder folder;
  std::filesystem::remove(folder / kVideoFile);
  WriteText(folder / "processor_config.json", "{}");
  const auto summary = InspectCheckpoint(folder.path().string());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_FALSE(summary->video_processor.has_value());
}

TEST(ProcessorConfig, VideoSettingsThatTheServerWouldContradictAreRefusedByField) {
  const ProcessorCase cases[] = {{"patch_size", 14, "patch_size: is 14, the tower's patch_size is 16"},
                                 {"temporal_patch_size", 1, "temporal_patch_size: is 1"},
                                 {"merge_size", nullptr, "merge_size: missing"},
                                 {"image_mean",
                                  {0.5, 0.4, 0.5},
                                  "image_mean: is [0.5,0.4,0.5], expected the image "
                                  "processor's [0.5,0.5,0.5]"},
                                 {"image_std", {1, 1, 1}, "image_std: is [1,1,1], expected the image processor's"},
                                 {"image_std", nullptr, "image_std: missing"},
                                 {"size", nullptr, "shortest_edge and longest_edge give 0 to 0 pixels"},
                                 {"size", {{"shortest_edge", 9}, {"longest_edge", 8}}, "give 9 to 8 pixels"},
                                 {"do_sample_frames", false, "do_sample_frames: is false, expected true"},
                                 {"cap_pixels_per_frame", true, "cap_pixels_per_frame: is true, expected false"},
                                 {"num_frames", 32, "num_frames: is 32, expected none"},
                                 {"do_resize", false, "do_resize: is false"},
                                 {"resample", 2, "resample: is 2, expected 3"},
                                 {"fps", 0, "fps: is 0, expected a number above 0"},
                                 {"fps", nullptr, "fps: is null, expected a number above 0"},
                                 {"fps", 1e300, "fps: is 1e+300, expected a number above 0"},
                                 {"fps", "2", "fps: is \"2\", expected a number"},
                                 {"min_frames", 0, "min_frames and max_frames are 0 and 768, expected"},
                                 {"max_frames", 3, "min_frames and max_frames are 4 and 3, expected"},
                                 {"max_frames", 4.5, "max_frames: is 4.5, expected an integer"}};
  const CheckpointFolder folder;
  const std::string processor = ReadText(folder / kVideoFile);
  for (const ProcessorCase& one : cases) {
    folder.EditJson(kVideoFile, [&](json& root) { root[one.field] = one.value; });
    EXPECT_THAT(std::string(InspectCheckpoint(folder.path().string()).status().message()),
                AllOf(HasSubstr(kVideoFile), HasSubstr(one.message)));
    WriteText(folder / kVideoFile, processor);
  }
}

}  // namespace
}  // namespace vitower
