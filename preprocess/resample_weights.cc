#include "preprocess/resample_weights.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace vitower {
namespace {

constexpr double kKeysA = -0.5;
constexpr double kKeysSupport = 2.0;
constexpr int kMaxPrecision = 22;

double Keys(double x) {
  x = std::abs(x);
  if (x < 1.0) return ((kKeysA + 2.0) * x - (kKeysA + 3.0)) * x * x + 1.0;
  if (x < 2.0) return ((kKeysA * x - 5.0 * kKeysA) * x + 8.0 * kKeysA) * x - 4.0 * kKeysA;
  return 0.0;
}

// The reference rounds by truncating value + 0.5.
int64_t Truncate(double value) { return static_cast<int64_t>(value); }

// The largest precision at which the largest weight still rounds into an int16.
int PrecisionFor(double largest) {
  int precision = 0;
  while (precision < kMaxPrecision && Truncate(0.5 + largest * (1 << (precision + 1))) < (1 << 15)) ++precision;
  return precision;
}

int16_t ToFixed(double weight, int precision) {
  const double scaled = weight * (1 << precision);
  return static_cast<int16_t>(Truncate(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5));
}

// The normalised weights of output `i`; sets its window in `axis`.
std::vector<double> Window(AxisWeights& axis, size_t i) {
  const double scale = static_cast<double>(axis.in) / static_cast<double>(axis.out);
  const double inverse = scale >= 1.0 ? 1.0 / scale : 1.0;
  const double support = scale >= 1.0 ? kKeysSupport * scale : kKeysSupport;
  const double center = scale * (static_cast<double>(i) + 0.5);
  const auto first = std::max(Truncate(center - support + 0.5), int64_t{0});
  const auto end = std::min(Truncate(center + support + 0.5), axis.in);
  const auto count = std::clamp(end - first, int64_t{0}, static_cast<int64_t>(std::ceil(support)) * 2 + 1);
  std::vector<double> weights(static_cast<size_t>(count));
  double sum = 0.0;
  for (size_t j = 0; j < weights.size(); ++j) {
    weights[j] = Keys((static_cast<double>(j) + (static_cast<double>(first) - center) + 0.5) * inverse);
    sum += weights[j];
  }
  for (double& weight : weights) weight = sum != 0.0 ? weight / sum : weight;
  axis.first[i] = first;
  axis.count[i] = static_cast<int32_t>(count);
  return weights;
}

}  // namespace

AxisWeights MakeAxisWeights(int64_t in, int64_t out) {
  AxisWeights axis;
  axis.in = in;
  axis.out = out;
  const auto outputs = static_cast<size_t>(out);
  axis.first.resize(outputs);
  axis.count.resize(outputs);
  std::vector<std::vector<double>> windows(outputs);
  double largest = 0.0;
  for (size_t i = 0; i < outputs; ++i) {
    windows[i] = Window(axis, i);
    for (const double weight : windows[i]) largest = std::max(largest, weight);
  }
  axis.max_count = *std::max_element(axis.count.begin(), axis.count.end());
  axis.taps = axis.max_count + axis.max_count % 2;
  axis.precision = PrecisionFor(largest);
  axis.values.resize(outputs * static_cast<size_t>(axis.taps));
  for (size_t i = 0; i < outputs; ++i) {
    std::transform(windows[i].begin(), windows[i].end(), axis.values.begin() + static_cast<int64_t>(i) * axis.taps,
                   [&](double weight) { return ToFixed(weight, axis.precision); });
  }
  return axis;
}

std::shared_ptr<const AxisWeights> CachedAxisWeights(int64_t in, int64_t out) {
  constexpr size_t kTables = 16;
  thread_local std::vector<std::shared_ptr<const AxisWeights>> cache;  // the one used last stands first
  auto found =
      std::find_if(cache.begin(), cache.end(), [&](const auto& axis) { return axis->in == in && axis->out == out; });
  if (found == cache.end()) {
    if (cache.size() == kTables) cache.pop_back();
    found = cache.insert(cache.end(), std::make_shared<const AxisWeights>(MakeAxisWeights(in, out)));
  }
  std::rotate(cache.begin(), found, std::next(found));
  return cache.front();
}

}  // namespace vitower
