#include "model/load.h"

#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/checkpoint.h"
#include "model/cpu_count.h"
#include "model/dtype_choice.h"
#include "model/fingerprint.h"
#include "model/guard.h"
#include "model/make_checkpoint.h"
#include "model/random_weights.h"
#include "model/tower.h"

namespace vitower {
namespace {

constexpr std::string_view kRandom = "random:";

absl::StatusOr<TowerSource> OpenSource(const std::string& model, int threads) {
  if (model.starts_with(kRandom)) {
    CheckpointRecipe recipe;
    recipe.shape = model.substr(kRandom.size());
    return RandomTower(recipe, threads);
  }
  auto checkpoint = OpenCheckpoint(model);
  if (!checkpoint.ok()) return checkpoint.status();
  return std::move(checkpoint->source);
}

std::string ModelName(const std::string& model) {
  if (model.starts_with(kRandom)) return model;
  std::filesystem::path folder = std::filesystem::absolute(model).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  return folder.filename().string();
}

absl::StatusOr<std::unique_ptr<Encoder>> Load(const LoadOptions& options) {
  const auto log = [&](const std::string& message) {
    if (options.log) options.log(message);
  };
  if (options.device != "cpu") {
    return absl::InvalidArgumentError(absl::StrCat("device is \"", options.device, "\", expected \"cpu\""));
  }
  if (options.threads < 0) {
    return absl::InvalidArgumentError(absl::StrCat("threads is ", options.threads, ", expected 0 or more"));
  }
  const int threads = options.threads > 0 ? options.threads : UsableCores();
  auto source = OpenSource(options.model, threads);
  if (!source.ok()) return source.status();
  const auto dtype = ChooseCpuDType(options.dtype, source->dtype);
  if (!dtype.ok()) return dtype.status();
  log(absl::StrCat(options.model, ": ", source->tensors.size(), " tensors, checked"));

  EncoderInfo info;
  info.name = ModelName(options.model);
  info.device = options.device;
  info.dtype = *dtype;
  info.tower = source->tower;
  info.image_processor = source->image_processor;
  info.fingerprint = Fingerprint(*source, *dtype, threads);
  log(absl::StrCat("fingerprint ", info.fingerprint));
  auto encoder = MakeCpuTower(*std::move(source), std::move(info), {*dtype, threads, options.observer});
  if (encoder.ok()) log(absl::StrCat("ready in ", std::string(Name(*dtype)), " on ", threads, " threads"));
  return encoder;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> LoadEncoder(const LoadOptions& options) {
  return Guarded(options.model, [&] { return Load(options); });
}

}  // namespace vitower
