#include "model/random_weights.h"

#include <array>
#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/bf16.h"
#include "model/parallel.h"

namespace vitower {
namespace {

// The quantiles of |N| at the middles of 2^15 equal parts: 15 random bits pick one, another bit the sign.
class HalfNormal final {
 public:
  static const HalfNormal& Get() {
    static const HalfNormal table;
    return table;
  }
  float operator()(uint16_t bits) const {
    const float value = quantiles_[bits & 0x7FFF];
    return (bits & 0x8000) != 0 ? -value : value;
  }

 private:
  HalfNormal() {
    double x = 0;  // Newton from the left on a concave function: never past the root
    for (size_t i = 0; i < quantiles_.size(); ++i) {
      const double p = (static_cast<double>(i) + 0.5) / static_cast<double>(quantiles_.size());
      for (int step = 0; step < 20; ++step) {
        const double density = std::sqrt(2 / M_PI) * std::exp(-x * x / 2);
        x -= (std::erf(x / M_SQRT2) - p) / density;
      }
      quantiles_[i] = static_cast<float>(x);
    }
  }

  std::array<float, 1 << 15> quantiles_;
};

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

uint64_t StreamKey(uint64_t seed, std::string_view name) {
  uint64_t key = Mix(seed + 0x9E3779B97F4A7C15U);
  for (const char c : name) key = Mix(key ^ static_cast<unsigned char>(c)) + 0x9E3779B97F4A7C15U;
  return key;
}

// Values offset + scale * N; the first `boosted` of them times 1.4.
struct Law {
  float offset = 0;
  float scale = 1;
  int64_t boosted = 0;
};

Law LawOf(const TensorSpec& spec) {
  const std::string_view name = spec.name;
  if (name.ends_with(".bias")) return {0, 0.1F, 0};
  if (spec.shape.size() == 1) return {1, 0.1F, 0};
  if (name == "pos_embed.weight") return {0, 0.5F, 0};
  const int64_t fan_in = spec.shape[1];
  const int64_t q_and_k = name.ends_with(".attn.qkv.weight") ? 2 * fan_in * fan_in : 0;
  return {0, static_cast<float>(1 / std::sqrt(static_cast<double>(fan_in))), q_and_k};
}

template <typename T>
void DrawValues(uint64_t key, const Law& law, int64_t count, T* out) {
  const HalfNormal& normal = HalfNormal::Get();
  for (int64_t i = 0; i < count; i += 4) {
    uint64_t bits = Mix(key + static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15U);
    for (int64_t j = i; j < i + 4 && j < count; ++j, bits >>= 16) {
      const float scale = j < law.boosted ? law.scale * 1.4F : law.scale;
      Store(law.offset + scale * normal(static_cast<uint16_t>(bits)), out[j]);
    }
  }
}

// Massive activations as trained towers have them: one early block lifts four channels of the residual stream to
// +-3072 for every patch. The norms that see them afterwards damp these channels and amplify the others, as far as the
// stream has grown by then, so that the answers keep their scale. One hidden unit of the last block's MLP passes
// 65,504, the largest fp16.
class Outliers final {
 public:
  explicit Outliers(const TowerConfig& tower) : tower_(tower) {}

  template <typename T>
  void Plant(const TensorSpec& spec, T* values) const {
    const std::string_view name = spec.name;
    const int64_t last = tower_.depth - 1;
    if (name == absl::StrCat("blocks.", lift_block(), ".mlp.linear_fc2.bias")) Lift(values);
    if (const int64_t before = BlocksBefore(name); before > lift_block()) Rebalance(before, spec.shape[0], values);
    if (name == absl::StrCat("blocks.", last, ".mlp.linear_fc1.bias")) Store(kHugeUnit, values[0]);
    if (name == absl::StrCat("blocks.", last, ".mlp.linear_fc2.weight")) DampFirstColumn(spec, values);
  }

 private:
  static constexpr float kLift = 3072;
  static constexpr float kHugeUnit = 70144;  // a bf16 number

  int64_t lift_block() const { return tower_.depth > 1 ? 1 : 0; }
  std::array<int64_t, 4> channels() const {
    const int64_t hidden = tower_.hidden_size;
    return {hidden / 7, hidden / 3, hidden / 2, hidden - 3};
  }

  template <typename T>
  void Lift(T* bias) const {
    float value = kLift;
    for (const int64_t channel : channels()) {
      Store(value, bias[channel]);
      value = -value;
    }
  }

  // For a norm's weight: how many blocks its input has passed. 0 for any other tensor.
  int64_t BlocksBefore(std::string_view name) const {
    if (name == "merger.norm.weight") return tower_.depth;
    const bool is_norm =
        name.ends_with(".norm.weight") || name.ends_with(".norm1.weight") || name.ends_with(".norm2.weight");
    const std::string_view number = name.substr(name.find('.') + 1);
    int64_t index = 0;
    if (!is_norm || !absl::SimpleAtoi(std::string(number.substr(0, number.find('.'))), &index)) return 0;
    return name.starts_with("blocks.") ? index : tower_.deepstack_visual_indexes[index] + 1;
  }

  template <typename T>
  void Rebalance(int64_t blocks_before, int64_t size, T* weight) const {
    const double deviation = kLift * std::sqrt(4.0 / static_cast<double>(tower_.hidden_size));  // of a lifted row
    const auto gain = static_cast<float>(deviation / std::sqrt(1.0 + static_cast<double>(blocks_before)));
    for (int64_t i = 0; i < size; ++i) {
      bool lifted = false;
      for (const int64_t channel : channels()) lifted = lifted || i % tower_.hidden_size == channel;
      Store(ToFloat(weight[i]) * (lifted ? 1.0F / 64 : gain), weight[i]);
    }
  }

  template <typename T>
  void DampFirstColumn(const TensorSpec& spec, T* weight) const {
    for (int64_t row = 0; row < spec.shape[0]; ++row) {
      T& value = weight[row * spec.shape[1]];
      Store(ToFloat(value) * 16 / kHugeUnit, value);
    }
  }

  const TowerConfig& tower_;
};

}  // namespace

TowerTensor RandomWeights::Draw(const TensorSpec& spec) const {
  const int64_t count = spec.element_count();
  const int64_t bytes = count * ByteSize(dtype_);
  const std::shared_ptr<std::byte[]> memory(new std::byte[bytes]);
  const auto draw = [&](auto* values) {
    DrawValues(StreamKey(seed_, spec.name), LawOf(spec), count, values);
    if (outliers_) Outliers(tower_).Plant(spec, values);
  };
  if (dtype_ == DType::kBf16) {
    draw(reinterpret_cast<Bf16*>(memory.get()));
  } else {
    draw(reinterpret_cast<float*>(memory.get()));
  }
  const auto size = static_cast<size_t>(bytes);
  return {spec.name, std::string(dtype_ == DType::kBf16 ? "BF16" : "F32"), spec.shape, {memory.get(), size}, memory};
}

absl::StatusOr<TowerSource> RandomTower(const CheckpointRecipe& recipe, int threads) {
  if (recipe.dtype == DType::kFp16) {
    return absl::InvalidArgumentError("random weights are drawn in bf16 or fp32, fp16 was asked for");
  }
  const auto tower = NamedShape(recipe.shape);
  if (!tower.ok()) return tower.status();
  const std::vector<TensorSpec> specs = TowerTensors(*tower);
  const RandomWeights weights(*tower, recipe.dtype, recipe.seed, recipe.outliers);
  TowerSource source{*tower, HubImageProcessor(), HubVideoProcessor(), recipe.dtype,
                     std::vector<TowerTensor>(specs.size())};
  ParallelFor(threads, static_cast<int64_t>(specs.size()),
              [&](int64_t i) { source.tensors[i] = weights.Draw(specs[i]); });
  return source;
}

std::optional<std::string> RandomShape(std::string_view model) {
  constexpr std::string_view kRandom = "random:";
  if (!model.starts_with(kRandom)) return std::nullopt;
  return std::string(model.substr(kRandom.size()));
}

ImageProcessorConfig HubImageProcessor() {
  ImageProcessorConfig processor;
  processor.min_pixels = 65536;
  processor.max_pixels = 16777216;
  return processor;
}

VideoProcessorConfig HubVideoProcessor() {
  VideoProcessorConfig processor;
  processor.min_pixels = 4096;
  processor.max_pixels = 25165824;
  return processor;
}

}  // namespace vitower
