// The JSON files of a checkpoint folder.
#include "model/config_json.h"
#include "model/processor_json.h"
#include "tests/fuzz/expect.h"
#include "tests/support/temporary_folder.h"

namespace vitower {
namespace {

void Run(const std::filesystem::path& folder) {
  (void)IsRefusal(ReadWeightMap(folder / "config.json"));
  TowerConfig tower;
  if (const absl::StatusOr<ModelConfig> config = ReadModelConfig(folder); !IsRefusal(config)) {
    tower = config->tower;
    Expect(tower.num_heads > 0 && tower.hidden_size % tower.num_heads == 0, "heads divide");
    Expect(tower.patch_size > 0 && tower.spatial_merge_size > 0 && tower.depth > 0, "sizes are positive");
  }
  const absl::StatusOr<ImageProcessorConfig> image = ReadImageProcessor(folder, tower);
  if (IsRefusal(image)) return;
  Expect(image->min_pixels > 0 && image->min_pixels <= image->max_pixels, "limits are in order");
  const absl::StatusOr<std::optional<VideoProcessorConfig>> video = ReadVideoProcessor(folder, tower, *image);
  if (IsRefusal(video) || !video->has_value()) return;
  Expect((*video)->min_frames > 0 && (*video)->min_frames <= (*video)->max_frames, "limits are in order");
}

}  // namespace
}  // namespace vitower

// The input stands for each of the files at once: a key that only one of them knows is a stranger to the others.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const vitower::TemporaryFolder folder;
  for (const char* name : {"config.json", "preprocessor_config.json", "video_preprocessor_config.json"}) {
    folder.Write(name, {reinterpret_cast<const char*>(data), size});
  }
  vitower::Run(folder.path());
  return 0;
}
