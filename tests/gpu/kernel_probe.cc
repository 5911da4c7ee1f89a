// Our kernels alone, on random values, against the same computed on the host in fp64: for run.sh and for
// compute-sanitizer, which does not take the GEMMs of cuBLASLt. Prints a line a case; fails where one is off.
//   kernel_probe [few]
//   kernel_probe time    instead says how long attention and turning its keys take
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "model/bf16.h"
#include "model/cuda/kernels.h"

namespace vitower {
namespace {

int failures = 0;

void Check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "kernel_probe: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

template <typename T>
class OnDevice final {
 public:
  explicit OnDevice(std::vector<T> host) : host_(std::move(host)) {
    Check(cudaMalloc(reinterpret_cast<void**>(&data_), host_.size() * sizeof(T)));
    Check(cudaMemcpy(data_, host_.data(), host_.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { (void)cudaFree(data_); }
  T* data() const { return data_; }
  const std::vector<T>& Read() {
    Check(cudaDeviceSynchronize());
    Check(cudaMemcpy(host_.data(), data_, host_.size() * sizeof(T), cudaMemcpyDeviceToHost));
    return host_;
  }

 private:
  std::vector<T> host_;
  T* data_ = nullptr;
};

Bf16 Round(double value) {
  Bf16 out = 0;
  Store(static_cast<float>(value), out);
  return out;
}

std::vector<Bf16> Random(size_t count, uint32_t seed, double scale = 1, double shift = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  std::vector<Bf16> values(count);
  for (Bf16& value : values) value = Round(normal(random) * scale + shift);
  return values;
}

void Compare(const std::string& name, const std::vector<Bf16>& values, const std::vector<double>& expected) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double distance = ToFloat(values[i]) - expected[i];
    difference += distance * distance;
    norm += expected[i] * expected[i];
  }
  const double relative = std::sqrt(difference / norm);
  const bool good = relative < 4e-3;  // bf16 rounds with an rms of 1.7e-3; NaN never passes
  failures += good ? 0 : 1;
  std::printf("%s: relL2 %.1e%s\n", name.c_str(), relative, good ? "" : " FAILED");
  std::fflush(stdout);
}

std::vector<double> Normalised(const std::vector<Bf16>& x, const std::vector<Bf16>& weight,
                               const std::vector<Bf16>& bias) {
  const size_t width = weight.size();
  std::vector<double> result;
  result.reserve(x.size());
  for (size_t row = 0; row < x.size(); row += width) {
    double mean = 0;
    double variance = 0;
    for (size_t i = 0; i < width; ++i) mean += ToFloat(x[row + i]) / static_cast<double>(width);
    for (size_t i = 0; i < width; ++i) variance += std::pow(ToFloat(x[row + i]) - mean, 2) / static_cast<double>(width);
    for (size_t i = 0; i < width; ++i) {
      result.push_back((ToFloat(x[row + i]) - mean) / std::sqrt(variance + 1e-6) * ToFloat(weight[i]) +
                       ToFloat(bias[i]));
    }
  }
  return result;
}

// Twice, the second time of what the first has only begun to write when the second is launched.
void LayerNormCase(int64_t rows, int32_t width) {
  OnDevice<Bf16> x(Random(rows * width, 1, 3, 1));
  OnDevice<Bf16> weight(Random(width, 2, 0.1, 1));
  OnDevice<Bf16> bias(Random(width, 3, 0.1));
  OnDevice<Bf16> once(std::vector<Bf16>(rows * width, Round(NAN)));
  OnDevice<Bf16> twice(std::vector<Bf16>(rows * width, Round(NAN)));
  for (const auto& [from, to] : {std::pair(x.data(), once.data()), std::pair(once.data(), twice.data())}) {
    Check(LaunchLayerNorm(Element::kBf16, {from, weight.data(), bias.data(), to, rows, width, 1e-6F}, nullptr));
  }
  const std::string name = "LayerNorm of " + std::to_string(rows) + " x " + std::to_string(width);
  Compare(name, once.Read(), Normalised(x.Read(), weight.Read(), bias.Read()));
  Compare(name + ", of itself", twice.Read(), Normalised(once.Read(), weight.Read(), bias.Read()));
}

struct Segments {
  std::vector<AttentionTile> tiles;
  std::vector<int32_t> offsets{0};
};

Segments MakeSegments(const std::vector<int32_t>& lengths, int32_t tile_rows) {
  Segments segments;
  for (const int32_t length : lengths) {
    const int32_t first = segments.offsets.back();
    for (int32_t row = 0; row < length; row += tile_rows) {
      segments.tiles.push_back({first + row, first, length, std::min(tile_rows, length - row)});
    }
    segments.offsets.push_back(first + length);
  }
  return segments;
}

// Head `head` of part `part` (q, k, v) of a row, turned unless it is a v.
std::vector<double> HeadOf(const std::vector<Bf16>& qkv, const std::vector<float>& rotary, int32_t row, int part,
                           int head, int heads, int dim) {
  const Bf16* values = qkv.data() + ((int64_t{row} * 3 + part) * heads + head) * dim;
  std::vector<double> result(static_cast<size_t>(dim));
  for (int i = 0; i < dim; ++i) result[i] = ToFloat(values[i]);
  if (part == 2) return result;
  const float* angles = rotary.data() + int64_t{row} * dim;
  for (int i = 0; i < dim / 2; ++i) {
    const double a = ToFloat(values[i]);
    const double b = ToFloat(values[i + dim / 2]);
    result[i] = ToFloat(Round(a * angles[i] - b * angles[i + dim / 2]));
    result[i + dim / 2] = ToFloat(Round(b * angles[i] + a * angles[i + dim / 2]));
  }
  return result;
}

std::vector<double> ExpectedAttention(const std::vector<Bf16>& qkv, const std::vector<float>& rotary,
                                      const std::vector<int32_t>& offsets, int heads, int dim) {
  std::vector<double> expected(static_cast<size_t>(offsets.back()) * heads * dim);
  for (size_t segment = 0; segment + 1 < offsets.size(); ++segment) {
    for (int head = 0; head < heads; ++head) {
      std::vector<std::vector<double>> keys;
      std::vector<std::vector<double>> values;
      for (int32_t row = offsets[segment]; row < offsets[segment + 1]; ++row) {
        keys.push_back(HeadOf(qkv, rotary, row, 1, head, heads, dim));
        values.push_back(HeadOf(qkv, rotary, row, 2, head, heads, dim));
      }
      for (int32_t row = offsets[segment]; row < offsets[segment + 1]; ++row) {
        const std::vector<double> query = HeadOf(qkv, rotary, row, 0, head, heads, dim);
        double* out = expected.data() + (int64_t{row} * heads + head) * dim;
        double total = 0;
        for (size_t key = 0; key < keys.size(); ++key) {
          double score = 0;
          for (int i = 0; i < dim; ++i) score += query[i] * keys[key][i];
          const double weight = std::exp(score / std::sqrt(dim));
          total += weight;
          for (int i = 0; i < dim; ++i) out[i] += weight * values[key][i];
        }
        for (int i = 0; i < dim; ++i) out[i] /= total;
      }
    }
  }
  return expected;
}

// `poisoned`: a segment of which all is NaN. What comes of the others is compared.
void AttentionCase(const std::vector<int32_t>& lengths, int32_t tile_rows, int32_t dim,
                   std::optional<size_t> poisoned = std::nullopt) {
  constexpr int32_t kHeads = 2;
  const Segments segments = MakeSegments(lengths, tile_rows);
  const int32_t rows = segments.offsets.back();
  std::vector<Bf16> qkv = Random(static_cast<size_t>(rows) * 3 * kHeads * dim, 7);
  const auto without_poisoned = [&](auto values, int64_t width) {
    if (!poisoned) return values;
    const auto at = [&](size_t i) { return values.begin() + segments.offsets[i] * width; };
    values.erase(at(*poisoned), at(*poisoned + 1));
    return values;
  };
  if (poisoned) {
    const int64_t width = int64_t{3} * kHeads * dim;
    std::fill(qkv.begin() + segments.offsets[*poisoned] * width, qkv.begin() + segments.offsets[*poisoned + 1] * width,
              Round(NAN));
  }
  std::vector<float> rotary;
  for (int32_t i = 0; i < rows; ++i) {
    for (int32_t j = 0; j < dim / 2; ++j) rotary.push_back(std::cos(static_cast<float>(i * (j + 1)) * 0.37F));
    for (int32_t j = 0; j < dim / 2; ++j) rotary.push_back(std::sin(static_cast<float>(i * (j + 1)) * 0.37F));
  }
  const std::vector<double> expected = ExpectedAttention(qkv, rotary, segments.offsets, kHeads, dim);
  OnDevice<Bf16> device_qkv(qkv);
  OnDevice<float> device_rotary(rotary);
  OnDevice<AttentionTile> tiles(segments.tiles);
  OnDevice<int32_t> count({static_cast<int32_t>(segments.tiles.size())});
  Check(LaunchRotary(Element::kBf16, {device_qkv.data(), device_rotary.data(), rows, kHeads, dim, true}, nullptr));
  const auto run = [&](const char* name, int32_t blocks, auto launch) {
    if (blocks == 0) return;
    OnDevice<Bf16> out(std::vector<Bf16>(static_cast<size_t>(rows) * kHeads * dim, Round(NAN)));
    // Few blocks, so that each takes several tiles.
    Check(launch(Element::kBf16,
                 TileAttentionArgs{device_qkv.data(), device_rotary.data(), tiles.data(), count.data(), out.data(),
                                   kHeads, dim, tile_rows, std::min(blocks, 3)},
                 nullptr));
    Compare(std::string(name) + ", heads of " + std::to_string(dim) + ", tiles of " + std::to_string(tile_rows),
            without_poisoned(out.Read(), kHeads * dim), without_poisoned(expected, kHeads * dim));
  };
  if (tile_rows <= kTileRows) run("attention", TileAttentionBlocks(Element::kBf16, dim), LaunchTileAttention);
  run("Hopper attention", HopperAttentionBlocks(Element::kBf16, dim, tile_rows), LaunchHopperAttention);
}

// Median milliseconds of 20 launches after 3.
template <typename Launch>
double MedianMs(const Launch& launch) {
  constexpr int kRepeats = 20;
  std::vector<float> times;
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  Check(cudaEventCreate(&begin));
  Check(cudaEventCreate(&end));
  for (int i = -3; i < kRepeats; ++i) {
    Check(cudaEventRecord(begin));
    Check(launch());
    Check(cudaEventRecord(end));
    Check(cudaEventSynchronize(end));
    float ms = 0;
    Check(cudaEventElapsedTime(&ms, begin, end));
    if (i >= 0) times.push_back(ms);
  }
  Check(cudaEventDestroy(begin));
  Check(cudaEventDestroy(end));
  std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
  return times[kRepeats / 2];
}

// Attention and turning the keys, of `count` segments of `length` rows with 16 heads.
void TimeAttention(int32_t count, int32_t length, int32_t dim) {
  constexpr int32_t kHeads = 16;
  const int32_t rows = count * length;
  std::vector<Bf16> values = Random(1 << 20, 7);
  values.resize(static_cast<size_t>(rows) * 3 * kHeads * dim);
  for (size_t i = 1 << 20; i < values.size(); ++i) values[i] = values[i - (1 << 20)];
  OnDevice<Bf16> qkv(std::move(values));
  OnDevice<float> rotary(std::vector<float>(static_cast<size_t>(rows) * dim, 0.7F));
  OnDevice<Bf16> out(std::vector<Bf16>(static_cast<size_t>(rows) * kHeads * dim));
  std::printf("%d x %d, heads of %d: ", count, length, dim);
  const auto time = [&](const char* name, int32_t tile_rows, int32_t blocks, auto launch) {
    if (blocks == 0) return;
    const Segments segments = MakeSegments(std::vector<int32_t>(count, length), tile_rows);
    OnDevice<AttentionTile> tiles(segments.tiles);
    OnDevice<int32_t> tile_count({static_cast<int32_t>(segments.tiles.size())});
    const TileAttentionArgs args{qkv.data(), rotary.data(), tiles.data(), tile_count.data(), out.data(), kHeads,
                                 dim,        tile_rows,     blocks};
    const double ms = MedianMs([&] { return launch(Element::kBf16, args, nullptr); });
    std::printf("%s, tiles of %d, %.1f us (%.0f TFLOP/s); ", name, tile_rows, ms * 1e3,
                4.0 * count * length * length * kHeads * dim / ms / 1e9);
  };
  time("mma.sync", kTileRows, TileAttentionBlocks(Element::kBf16, dim), LaunchTileAttention);
  for (const int32_t tile_rows : {kSmallTileRows, kHopperTileRows, kShortTileRows}) {
    time("Hopper", tile_rows, HopperAttentionBlocks(Element::kBf16, dim, tile_rows), LaunchHopperAttention);
  }
  const RotaryArgs turn{qkv.data(), rotary.data(), rows, kHeads, dim, true};
  std::printf("keys turned in %.1f us\n", MedianMs([&] { return LaunchRotary(Element::kBf16, turn, nullptr); }) * 1e3);
  std::fflush(stdout);
}

int Time() {
  for (const int32_t dim : {64, 72}) {
    for (const auto& [count, length] : {std::pair(64, 196), std::pair(8, 760), std::pair(16, 784), std::pair(16, 3520),
                                        std::pair(1, 784), std::pair(1, 196)}) {
      TimeAttention(count, length, dim);
    }
  }
  return 0;
}

// `few`: for racecheck, which is slow. Still every path: one and several runs of keys, a rest of each size, several
// tiles of a block.
int Main(bool few) {
  for (const int32_t width : {128, 1152, 4608}) LayerNormCase(37, width);
  for (const int32_t dim : {64, 72}) {
    for (const int32_t tile_rows : {kSmallTileRows, kHopperTileRows, kShortTileRows}) {
      AttentionCase({4, 20, 100, 148, 210}, tile_rows, dim);
      if (few) continue;
      AttentionCase({4, 16, 17, 20, 63, 64, 65, 100, 128, 129, 196, 260}, tile_rows, dim);
      AttentionCase({900, 333, 641}, tile_rows, dim);
    }
    for (const int32_t tile_rows : {kSmallTileRows, kTileRows, kHopperTileRows, kShortTileRows}) {
      AttentionCase({100, 17, 196}, tile_rows, dim, 1);  // behind and in front of NaN
    }
  }
  for (const int64_t rows : {37, 2049}) {  // one wave of blocks, which fetch their weights early, and more
    for (const int32_t width : {1024, 1152, 4096, 12288}) {
      if (!few) LayerNormCase(rows, width);
    }
  }
  std::printf("%d failed\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace vitower

int main(int argc, char** argv) {
  const std::string word = argc > 1 ? argv[1] : "";
  return word == "time" ? vitower::Time() : vitower::Main(word == "few");
}
