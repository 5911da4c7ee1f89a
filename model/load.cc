#include "model/load.h"

#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint.h"
#include "model/cuda/cuda_tower.h"
#include "model/dtype_choice.h"
#include "model/fingerprint.h"
#include "model/guard.h"
#include "model/make_checkpoint.h"
#include "model/random_weights.h"
#include "model/tower.h"

namespace vitower {
namespace {

absl::StatusOr<TowerSource> OpenSource(const std::string& model, int threads) {
  if (const auto shape = RandomShape(model)) {
    CheckpointRecipe recipe;
    recipe.shape = *shape;
    return RandomTower(recipe, threads);
  }
  auto checkpoint = OpenCheckpoint(model);
  if (!checkpoint.ok()) return checkpoint.status();
  return std::move(checkpoint->source);
}

std::string ModelName(const std::string& model) {
  if (RandomShape(model)) return model;
  std::filesystem::path folder = std::filesystem::absolute(model).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  return folder.filename().string();
}

// The index in "cuda:N".
std::optional<int> GpuIndex(const std::string& device) {
  constexpr std::string_view kPrefix = "cuda:";
  int index = 0;
  if (!device.starts_with(kPrefix) || !absl::SimpleAtoi(device.substr(kPrefix.size()), &index)) return std::nullopt;
  return index;
}

absl::StatusOr<std::unique_ptr<Encoder>> Load(const LoadOptions& options) {
  const auto log = [&](const std::string& message) {
    if (options.log) options.log(message);
  };
  const auto gpu = GpuIndex(options.device);
  if (!gpu && options.device != "cpu") {
    return absl::InvalidArgumentError(
        absl::StrCat("device is \"", options.device, "\", expected \"cpu\" or \"cuda:N\""));
  }
  if (options.threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("threads is ", options.threads, ", expected 1 or more"));
  }
  auto source = OpenSource(options.model, options.threads);
  if (!source.ok()) return source.status();
  const absl::StatusOr<DType> dtype =
      gpu ? absl::StatusOr<DType>(options.dtype.value_or(source->dtype)) : ChooseCpuDType(options.dtype, source->dtype);
  if (!dtype.ok()) return dtype.status();
  log(absl::StrCat(options.model, ": ", source->tensors.size(), " tensors, checked"));

  EncoderInfo info;
  info.name = ModelName(options.model);
  info.device = options.device;
  info.dtype = *dtype;
  info.tower = source->tower;
  info.image_processor = source->image_processor;
  info.video_processor = source->video_processor;
  info.fingerprint = Fingerprint(*source, *dtype, options.threads);
  log(absl::StrCat("fingerprint ", info.fingerprint));
  if (gpu)
    return MakeCudaTower(*std::move(source), std::move(info),
                         {*gpu, options.batch_rules, options.observer, options.log});
  auto encoder = MakeCpuTower(*std::move(source), std::move(info), {*dtype, options.threads, options.observer});
  if (encoder.ok()) log(absl::StrCat("ready in ", std::string(Name(*dtype)), " on ", options.threads, " threads"));
  return encoder;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> LoadEncoder(const LoadOptions& options) {
  return Guarded(options.model, [&] { return Load(options); });
}

}  // namespace vitower
