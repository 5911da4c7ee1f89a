#include "model/cuda/cuda_tower.h"

#include <new>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/cuda/cuda_runner.h"
#include "model/cuda/device_thread.h"
#include "model/cuda/warm_up.h"
#include "model/patch_rows.h"

namespace vitower {
namespace {

constexpr int64_t kAlignment = 8;  // of rows, in elements: what 16-byte accesses and the matrix units take

// Runs `body` on the device's thread; what it throws becomes a status.
absl::Status RunOn(DeviceThread& thread, const char* what, const std::function<void()>& body) {
  try {
    thread.Run(body);
    return absl::OkStatus();
  } catch (const UnfitTower& e) {
    return absl::FailedPreconditionError(e.what());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": out of device memory"));
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat(what, ": ", e.what()));
  }
}

class CudaTower final : public Encoder {
 public:
  explicit CudaTower(EncoderInfo info) : info_(std::move(info)) {}
  ~CudaTower() override {
    (void)RunOn(thread_, "letting go of the device", [this] { runner_.reset(); });
  }

  absl::Status Load(TowerSource source, const CudaTowerOptions& options) {
    return RunOn(thread_, "building the tower", [&] {
      UseDevice(options.device);
      runner_.emplace(std::move(source), info_, options);
    });
  }

  const EncoderInfo& info() const override { return info_; }

  absl::StatusOr<EncodedBatch> Forward(absl::Span<const TowerInput> items, const OutputSet& wanted) override {
    if (items.empty()) return absl::InvalidArgumentError("a batch without items");
    const size_t levels = info_.tower.deepstack_visual_indexes.size();
    if (wanted.deepstack.size() != levels) {
      return absl::InvalidArgumentError(
          absl::StrCat("outputs name ", wanted.deepstack.size(), " DeepStack levels, the tower has ", levels));
    }
    for (const TowerInput& item : items) {
      const absl::Status status = std::visit([&](const auto* it) { return CheckItem(*it, info_.tower); }, item);
      if (!status.ok()) return status;
    }
    EncodedBatch batch;
    const absl::Status status = RunOn(thread_, "forward pass", [&] { batch = runner_->Run(items, wanted); });
    if (!status.ok()) return status;
    return batch;
  }

 private:
  EncoderInfo info_;
  std::optional<CudaRunner> runner_;  // used on thread_ alone
  DeviceThread thread_;
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

absl::StatusOr<std::unique_ptr<Encoder>> MakeCudaTower(TowerSource source, EncoderInfo info,
                                                       const CudaTowerOptions& options) {
  if (absl::Status status = CheckShape(info.tower); !status.ok()) return status;
  auto tower = std::make_unique<CudaTower>(std::move(info));
  if (absl::Status status = tower->Load(std::move(source), options); !status.ok()) return status;
  return tower;
}

}  // namespace vitower
