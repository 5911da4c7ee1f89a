// JPEG decode (ours and cv::imdecode on the same bytes) and resize, one thread, by size.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <vector>

#include "preprocess/image.h"
#include "preprocess/resample.h"

namespace vitower {
namespace {

// Smooth colours with a little grain, so that the JPEG is about as large as a photo's.
cv::Mat Photo(int height, int width) {
  cv::Mat picture(height, width, CV_8UC3);
  uint32_t noise = 1;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      noise = noise * 1664525 + 1013904223;
      const auto grain = static_cast<int>(noise >> 28);
      picture.at<cv::Vec3b>(y, x) = {cv::saturate_cast<uint8_t>(x * 200 / width + grain),
                                     cv::saturate_cast<uint8_t>(y * 200 / height + grain),
                                     cv::saturate_cast<uint8_t>(((x / 40 + y / 40) % 2) * 120 + grain)};
    }
  }
  return picture;
}

std::vector<uint8_t> Jpeg(const benchmark::State& state) {
  const cv::Mat picture = Photo(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  std::vector<uint8_t> bytes;
  cv::imencode(".jpg", picture, bytes, {cv::IMWRITE_JPEG_QUALITY, 88});
  return bytes;
}

void DecodeJpegOurs(benchmark::State& state) {
  const std::vector<uint8_t> bytes = Jpeg(state);
  for (auto _ : state) {
    const absl::StatusOr<ImageHeader> header = ProbeImage(bytes);
    absl::StatusOr<RgbImage> image = DecodeImage(bytes, *header, ImageOptions{});
    benchmark::DoNotOptimize(image->rgb.data());
  }
}

void DecodeJpegOpenCv(benchmark::State& state) {
  const std::vector<uint8_t> bytes = Jpeg(state);
  for (auto _ : state) {
    const cv::Mat image = cv::imdecode(bytes, cv::IMREAD_COLOR);
    benchmark::DoNotOptimize(image.data);
  }
}

void Resize(benchmark::State& state) {
  const ImageSize from = {.height = state.range(0), .width = state.range(1)};
  const ImageSize to = {.height = state.range(2), .width = state.range(3)};
  const cv::Mat picture = Photo(static_cast<int>(from.height), static_cast<int>(from.width));
  const absl::Span<const uint8_t> input(picture.data, static_cast<size_t>(3 * from.height * from.width));
  std::vector<uint8_t> output(static_cast<size_t>(3 * to.height * to.width));
  for (auto _ : state) {
    ResampleBicubic(input, from, absl::MakeSpan(output), to);
    benchmark::DoNotOptimize(output.data());
  }
}

// A generic lambda: the type's name differs between versions of the library.
constexpr auto kJpegSizes = [](auto* bench) {
  bench->ArgNames({"h", "w"})->Args({224, 224})->Args({448, 448})->Args({720, 1280})->Args({1080, 1920});
  bench->Unit(benchmark::kMillisecond);
};

BENCHMARK(DecodeJpegOurs)->Apply(kJpegSizes);
BENCHMARK(DecodeJpegOpenCv)->Apply(kJpegSizes);
BENCHMARK(Resize)
    ->ArgNames({"h", "w", "to_h", "to_w"})
    ->Args({268, 270, 224, 224})
    ->Args({720, 1280, 448, 448})
    ->Args({1080, 1920, 720, 1280})
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vitower
