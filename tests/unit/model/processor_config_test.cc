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
              HasSubstr("neither preprocessor_config.json nor processor_config.json"));
  WriteText(folder / "processor_config.json", json{{"image_processor", processor}}.dump());
  const auto summary = InspectCheckpoint(folder.path().string());
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->image_processor.min_pixels, 65536);
}

}  // namespace
}  // namespace vitower
