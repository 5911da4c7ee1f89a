#include "model/cuda/cuda_tower.h"

#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_runner.h"
#include "model/cuda/warm_up.h"
#include "model/patch_rows.h"

namespace vitower {
namespace {

constexpr int64_t kAlignment = 8;  // of rows, in elements: what 16-byte accesses and the matrix units take

// Runs `body`; what it throws becomes a status.
absl::Status Guard(const char* what, const std::function<void()>& body) {
  try {
    body();
    return absl::OkStatus();
  } catch (const UnfitTower& e) {
    return absl::FailedPreconditionError(e.what());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": out of device memory"));
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat(what, ": ", e.what()));
  }
}

// What the encoders of one device share.
struct CudaTower {
  EncoderInfo info;
  std::optional<CudaRunner> runner;
};

class CudaEncoder final : public Encoder {
 public:
  explicit CudaEncoder(std::shared_ptr<CudaTower> tower) : tower_(std::move(tower)) {}

  const EncoderInfo& info() const override { return tower_->info; }

  absl::StatusOr<EncodedBatch> Forward(absl::Span<const TowerInput> items, const OutputSet& wanted) override {
    const TowerConfig& tower = info().tower;
    if (items.empty()) return absl::InvalidArgumentError("a batch without items");
    const size_t levels = tower.deepstack_visual_indexes.size();
    if (wanted.deepstack.size() != levels) {
      return absl::InvalidArgumentError(
          absl::StrCat("outputs name ", wanted.deepstack.size(), " DeepStack levels, the tower has ", levels));
    }
    for (const TowerInput& item : items) {
      const absl::Status status = std::visit([&](const auto* it) { return CheckItem(*it, tower); }, item);
      if (!status.ok()) return status;
    }
    EncodedBatch batch;
    const absl::Status status = Guard("forward pass", [&] { batch = tower_->runner->Run(items, wanted); });
    if (!status.ok()) return status;
    return batch;
  }

 private:
  const std::shared_ptr<CudaTower> tower_;
};

absl::Status CheckShape(const TowerConfig& tower) {
  const std::pair<const char*, int64_t> widths[] = {{"hidden_size", tower.hidden_size},
                                                    {"hidden_size / num_heads", tower.head_dim()},
                                                    {"intermediate_size", tower.intermediate_size},
                                                    {"out_hidden_size", tower.out_hidden_size}};
  for (const auto& [name, value] : widths) {
    if (value % kAlignment == 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("vision_config.", name, " is ", value, ", on a GPU expected a multiple of ", kAlignment));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int> CountCudaDevices() {
  int count = 0;
  if (absl::Status status = Guard("counting devices", [&] { count = DeviceCount(); }); !status.ok()) return status;
  return count;
}

absl::StatusOr<std::vector<std::unique_ptr<Encoder>>> MakeCudaTower(TowerSource source, EncoderInfo info,
                                                                    const CudaTowerOptions& options) {
  if (absl::Status status = CheckShape(info.tower); !status.ok()) return status;
  const auto tower = std::make_shared<CudaTower>();
  tower->info = std::move(info);
  const absl::Status status = Guard("building the tower", [&] {
    UseDevice(options.device);
    tower->runner.emplace(std::move(source), tower->info, options);
  });
  if (!status.ok()) return status;
  std::vector<std::unique_ptr<Encoder>> encoders;
  for (int i = 0; i < CudaRunner::kPassesInFlight; ++i) encoders.push_back(std::make_unique<CudaEncoder>(tower));
  return encoders;
}

}  // namespace vitower
