#include "model/processor_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/bad_file.h"
#include "model/json_file.h"
#include "model/json_section.h"

namespace vitower {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kSharedFile = "processor_config.json";
constexpr double kMaxFps = 1e6;

// One processor as a file describes it.
struct Description {
  std::string prefix;  // for errors
  json object;
};

// `member` inside processor_config.json, else `file`; nothing where neither is there.
absl::StatusOr<std::optional<Description>> FindDescription(const fs::path& folder, const char* member,
                                                           const char* file) {
  if (const fs::path path = folder / kSharedFile; IsThere(path)) {
    auto root = ReadJsonFile(path);
    if (!root.ok()) return root.status();
    JsonSection whole(absl::StrCat(path.string(), ": "), *root);
    if (const json* nested = whole.Find(member); nested != nullptr) {
      if (!nested->is_object()) whole.FailValue(member, "an object");
      if (!whole.status().ok()) return whole.status();
      return Description{absl::StrCat(path.string(), ": ", member, "."), *nested};
    }
  }
  const fs::path path = folder / file;
  if (!IsThere(path)) return std::optional<Description>();
  auto root = ReadJsonFile(path);
  if (!root.ok()) return root.status();
  return Description{absl::StrCat(path.string(), ": "), *std::move(root)};
}

void CheckPatchSizes(JsonSection& processor, const TowerConfig& tower) {
  processor.RequireEqual("patch_size", tower.patch_size, "patch_size");
  processor.RequireEqual("temporal_patch_size", tower.temporal_patch_size, "temporal_patch_size");
  processor.RequireEqual("merge_size", tower.spatial_merge_size, "spatial_merge_size");
}

// Checks `processor` against what preprocess/ and the upload stage do.
void CheckSteps(JsonSection& processor) {
  for (const char* step : {"do_resize", "do_rescale", "do_normalize"}) processor.ExpectIfPresent(step, true);
  processor.ExpectIfPresent("resample", 3);
  double factor = 1.0 / 255;
  processor.Number("rescale_factor", factor);
  if (std::abs(factor * 255 - 1) > 1e-9) processor.FailValue("rescale_factor", "1/255");
}

// The edges are areas of an image, volumes of a clip.
void ReadSize(JsonSection& processor, int64_t& min_pixels, int64_t& max_pixels) {
  const json* size = processor.Find("size");
  if (size == nullptr || !size->is_object()) return;
  JsonSection edges = processor.Inner("size");
  edges.Integer("shortest_edge", min_pixels);
  edges.Integer("longest_edge", max_pixels);
  processor.Adopt(edges);
}

void CheckLimits(JsonSection& processor, const std::string& keys, int64_t min_pixels, int64_t max_pixels) {
  if (min_pixels >= 1 && max_pixels >= min_pixels) return;
  processor.Fail("size", absl::StrCat(keys, " give ", min_pixels, " to ", max_pixels,
                                      " pixels, expected two positive numbers in ascending order"));
}

void RequireSame(JsonSection& processor, const char* key, const float (&image)[3]) {
  float own[3] = {};
  processor.RequireTriple(key, -1e3, 1e3, own);
  if (!processor.status().ok() || std::equal(own, own + 3, image)) return;
  processor.FailValue(key, absl::StrCat("the image processor's [", absl::StrJoin(image, ","),
                                        "], since images and clips share batches"));
}

void ReadSampling(JsonSection& processor, VideoProcessorConfig& config) {
  processor.ExpectIfPresent("do_sample_frames", true);
  processor.ExpectIfPresent("cap_pixels_per_frame", false);
  // The reference takes num_frames from this file only if fps is null, and without either it takes every frame.
  if (processor.Find("num_frames") != nullptr) {
    processor.FailValue("num_frames", "none: clips are sampled by fps unless a request says otherwise");
  }
  if (processor.IsNull("fps")) processor.Fail("fps", "is null, expected a number above 0");
  processor.Number("fps", config.fps);
  if (!(config.fps > 0 && config.fps <= kMaxFps)) {
    processor.FailValue("fps", absl::StrCat("a number above 0, at most ", kMaxFps));
  }
  processor.Integer("min_frames", config.min_frames);
  processor.Integer("max_frames", config.max_frames);
  if (config.min_frames < 1 || config.max_frames < config.min_frames) {
    processor.Fail("min_frames", absl::StrCat("min_frames and max_frames are ", config.min_frames, " and ",
                                              config.max_frames, ", expected two positive numbers in ascending order"));
  }
}

}  // namespace

absl::StatusOr<ImageProcessorConfig> ReadImageProcessor(const fs::path& folder, const TowerConfig& tower) {
  const auto found = FindDescription(folder, "image_processor", "preprocessor_config.json");
  if (!found.ok()) return found.status();
  if (!*found) {
    return BadFile(folder, absl::StrCat("neither preprocessor_config.json nor image_processor in ", kSharedFile));
  }
  JsonSection section((*found)->prefix, (*found)->object);
  ImageProcessorConfig config;
  CheckPatchSizes(section, tower);
  section.RequireTriple("image_mean", -10, 10, config.image_mean);
  section.RequireTriple("image_std", 1e-3, 1e3, config.image_std);
  if (section.status().ok()) {
    ReadSize(section, config.min_pixels, config.max_pixels);
    section.Integer("min_pixels", config.min_pixels);  // beside `size` they win, as in the reference
    section.Integer("max_pixels", config.max_pixels);
    CheckLimits(section, "shortest_edge and longest_edge (or min_pixels and max_pixels)", config.min_pixels,
                config.max_pixels);
  }
  if (section.status().ok()) CheckSteps(section);
  if (!section.status().ok()) return section.status();
  return config;
}

absl::StatusOr<std::optional<VideoProcessorConfig>> ReadVideoProcessor(const fs::path& folder, const TowerConfig& tower,
                                                                       const ImageProcessorConfig& image) {
  const auto found = FindDescription(folder, "video_processor", "video_preprocessor_config.json");
  if (!found.ok()) return found.status();
  if (!*found) return std::optional<VideoProcessorConfig>();
  JsonSection section((*found)->prefix, (*found)->object);
  VideoProcessorConfig config;
  CheckPatchSizes(section, tower);
  RequireSame(section, "image_mean", image.image_mean);
  RequireSame(section, "image_std", image.image_std);
  if (section.status().ok()) {
    ReadSize(section, config.min_pixels, config.max_pixels);  // the reference has no min_pixels beside it for clips
    CheckLimits(section, "shortest_edge and longest_edge", config.min_pixels, config.max_pixels);
  }
  if (section.status().ok()) CheckSteps(section);
  if (section.status().ok()) ReadSampling(section, config);
  if (!section.status().ok()) return section.status();
  return config;
}

}  // namespace vitower
