#include "model/load.h"

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/checkpoint.h"
#include "model/cuda/cuda_tower.h"
#include "model/device_list.h"
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

using Encoders = std::vector<std::unique_ptr<Encoder>>;

absl::StatusOr<Encoders> OnGpu(const TowerSource& source, EncoderInfo info, int gpu, const LoadOptions& options) {
  const auto began_at = std::chrono::steady_clock::now();
  info.device = absl::StrCat("cuda:", gpu);
  const std::string device = info.device;
  auto encoders = MakeCudaTower(source, std::move(info), {gpu, options.batch_rules, options.observer, options.log});
  if (encoders.ok() && options.log) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_at;
    options.log(absl::StrCat(device, " ready in ", absl::StrFormat("%.2f", took.count()), " s"));
  }
  return encoders;
}

// Each on a thread of its own: one copies its weights and captures its graphs while the others do.
absl::StatusOr<Encoders> OnGpus(const TowerSource& source, const EncoderInfo& info, const std::vector<int>& gpus,
                                const LoadOptions& options) {
  std::vector<absl::StatusOr<Encoders>> loaded(gpus.size());
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < gpus.size(); ++i) {
      threads.emplace_back([&, i] {
        loaded[i] = Guarded(absl::StrCat("cuda:", gpus[i]), [&] { return OnGpu(source, info, gpus[i], options); });
      });
    }
  }
  Encoders all;
  for (absl::StatusOr<Encoders>& encoders : loaded) {
    if (!encoders.ok()) return encoders.status();
    for (auto& encoder : *encoders) all.push_back(std::move(encoder));
  }
  return all;
}

absl::StatusOr<Encoders> OnCpu(TowerSource source, EncoderInfo info, const LoadOptions& options) {
  const DType dtype = info.dtype;
  info.device = "cpu";
  auto encoder = MakeCpuTower(std::move(source), std::move(info), {dtype, options.threads, options.observer});
  if (!encoder.ok()) return encoder.status();
  if (options.log) {
    options.log(absl::StrCat("ready in ", std::string(Name(dtype)), " on ", options.threads, " threads"));
  }
  Encoders one;
  one.push_back(*std::move(encoder));
  return one;
}

absl::StatusOr<Encoders> Load(const LoadOptions& options) {
  const auto log = [&](const std::string& message) {
    if (options.log) options.log(message);
  };
  const auto gpus = ParseDevices(options.device, CountCudaDevices);
  if (!gpus.ok()) return gpus.status();
  if (options.threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("threads is ", options.threads, ", expected 1 or more"));
  }
  auto source = OpenSource(options.model, options.threads);
  if (!source.ok()) return source.status();
  const absl::StatusOr<DType> dtype = gpus->empty() ? ChooseCpuDType(options.dtype, source->dtype)
                                                    : absl::StatusOr<DType>(options.dtype.value_or(source->dtype));
  if (!dtype.ok()) return dtype.status();
  log(absl::StrCat(options.model, ": ", source->tensors.size(), " tensors, checked"));

  EncoderInfo info;
  info.name = ModelName(options.model);
  info.dtype = *dtype;
  info.tower = source->tower;
  info.image_processor = source->image_processor;
  info.video_processor = source->video_processor;
  info.fingerprint = Fingerprint(*source, *dtype, options.threads);
  log(absl::StrCat("fingerprint ", info.fingerprint));
  return gpus->empty() ? OnCpu(*std::move(source), std::move(info), options) : OnGpus(*source, info, *gpus, options);
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<Encoder>>> LoadEncoders(const LoadOptions& options) {
  return Guarded(options.model, [&] { return Load(options); });
}

absl::StatusOr<std::unique_ptr<Encoder>> LoadEncoder(const LoadOptions& options) {
  auto encoders = LoadEncoders(options);
  if (!encoders.ok()) return encoders.status();
  return std::move(encoders->front());
}

}  // namespace vitower
