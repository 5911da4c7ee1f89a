#include "server/pass.h"

#include <exception>
#include <new>
#include <string>
#include <utility>

#include "server/device_stages.h"
#include "server/status.h"
#include "server/text.h"

namespace vitower {
namespace {

template <typename Step>
auto Guarded(std::string_view name, const Step& step) -> decltype(step()) {
  try {
    return step();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(Cat(name, " ran out of memory"));
  } catch (const std::exception& error) {
    return MakeStatus(Fault::kInternal, Cat(name, " threw: ", error.what()));
  } catch (...) {
    return MakeStatus(Fault::kInternal, Cat(name, " threw something unknown"));
  }
}

Frames GrayFrames(const TowerConfig& tower, int64_t grid_h, int64_t grid_w) {
  Frames frames;
  frames.frame_count = 1;
  frames.grid = GridThw{1, grid_h, grid_w};
  frames.height = grid_h * tower.patch_size;
  frames.width = grid_w * tower.patch_size;
  frames.rgb = std::vector<uint8_t>(static_cast<size_t>(frames.height * frames.width * 3), 128);
  return frames;
}

}  // namespace

// The tokens are needed for their means as well; an output is computed when any item wants it.
PassInputs InputsOf(absl::Span<const std::unique_ptr<Job>> jobs, const TowerConfig& tower) {
  const size_t levels = tower.deepstack_visual_indexes.size();
  PassInputs inputs;
  inputs.wanted.tokens = false;
  inputs.wanted.deepstack.assign(levels, false);
  for (const std::unique_ptr<Job>& job : jobs) {
    const ItemPlan& plan = job->plan;
    inputs.items.push_back(job->input);
    inputs.patches += job->patches();
    inputs.wanted.tokens = inputs.wanted.tokens || plan.outputs.tokens || plan.pooled || plan.pooled_slices;
    for (size_t i = 0; i < levels; ++i) {
      inputs.wanted.deepstack[i] = inputs.wanted.deepstack[i] || plan.outputs.deepstack[i];
    }
  }
  return inputs;
}

absl::StatusOr<std::shared_ptr<const ForwardResult>> RunPass(Encoder& encoder, const PassInputs& inputs, Clock& clock) {
  using Outcome = absl::StatusOr<std::shared_ptr<const ForwardResult>>;
  return Guarded("the encoder", [&]() -> Outcome {
    auto result = std::make_shared<ForwardResult>();
    result->computed = inputs.wanted;
    result->items = static_cast<int64_t>(inputs.items.size());
    result->patches = inputs.patches;
    std::vector<TowerInput> items;
    for (const std::shared_ptr<const JobInput>& item : inputs.items) items.push_back(Borrow(*item));
    const TimePoint started_at = clock.Now();
    absl::StatusOr<EncodedBatch> batch = encoder.Forward(items, inputs.wanted);
    if (!batch.ok()) return batch.status();
    result->batch = *std::move(batch);
    result->downloaded_at = started_at + result->batch.times.behind + Sum(result->batch.times);
    return result;
  });
}

std::chrono::nanoseconds Sum(const ForwardTimes& times) {
  std::chrono::nanoseconds sum{0};
  for (const auto& [stage, time] : kDeviceStages) sum += times.*time;
  return sum;
}

std::vector<Frames> WarmUpFrames(const TowerConfig& tower, int64_t budget_patches) {
  constexpr int64_t kSide = 16;  // 256 patches, a common picture
  const int64_t merge = tower.spatial_merge_size;
  std::vector<Frames> frames;
  for (int64_t room = budget_patches; room >= kSide * kSide; room -= kSide * kSide) {
    frames.push_back(GrayFrames(tower, kSide, kSide));
  }
  const int64_t rest = budget_patches % (kSide * kSide) / (merge * merge);
  if (rest > 0) frames.push_back(GrayFrames(tower, merge, rest * merge));
  return frames;
}

absl::Status WarmUp(Encoder& encoder, int64_t budget_patches) {
  return Guarded("the warm-up", [&] {
    const std::vector<Frames> frames = WarmUpFrames(encoder.info().tower, budget_patches);
    std::vector<TowerInput> items;
    for (const Frames& one : frames) items.emplace_back(&one);
    OutputSet wanted;
    wanted.deepstack.assign(encoder.info().tower.deepstack_visual_indexes.size(), true);
    return encoder.Forward(items, wanted).status();
  });
}

double PassWeight(absl::Span<const std::unique_ptr<Job>> jobs, const TowerConfig& tower) {
  double weight = 0;
  for (const std::unique_ptr<Job>& job : jobs) {
    const auto slice = static_cast<double>(job->plan.grid.h * job->plan.grid.w);
    weight += static_cast<double>(job->patches()) * (1 + slice / static_cast<double>(6 * tower.hidden_size));
  }
  return weight;
}

}  // namespace vitower
