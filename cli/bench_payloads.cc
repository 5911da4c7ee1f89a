#include "cli/bench_payloads.h"

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/remote_item.h"
#include "preprocess/encode.h"

namespace vitower {
namespace {

constexpr int64_t kCell = 40;  // pixels between the points of the colour fields
constexpr int64_t kPatch = 16;
constexpr int64_t kPatchValues = int64_t{6} * kPatch * kPatch;  // two frames of three colours
constexpr int kClipFps = 24;

// Smooth colour fields with a little grain, which take a decoder about the time of a photograph.
class Scene final {
 public:
  Scene(int64_t width, int64_t height, uint64_t seed)
      : width_(width), height_(height), columns_(width / kCell + 3), random_(seed) {
    colors_.resize(static_cast<size_t>(columns_ * (height / kCell + 3) * 3));
    for (float& value : colors_) value = static_cast<float>(random_() % 256);
  }

  // `shift`: pixels the scene has moved by, below kCell.
  RgbImage Draw(int64_t shift) {
    RgbImage image{{height_, width_}, std::vector<uint8_t>(static_cast<size_t>(height_ * width_ * 3))};
    uint8_t* out = image.rgb.data();
    for (int64_t y = 0; y < height_; ++y) {
      for (int64_t x = 0; x < width_; ++x) {
        for (int64_t c = 0; c < 3; ++c) *out++ = Pixel(x + shift, y, c);
      }
    }
    return image;
  }

 private:
  uint8_t Pixel(int64_t x, int64_t y, int64_t c) {
    const auto at = [&](int64_t column, int64_t row) {
      return colors_[static_cast<size_t>((row * columns_ + column) * 3 + c)];
    };
    const int64_t column = x / kCell;
    const int64_t row = y / kCell;
    const float fx = static_cast<float>(x % kCell) / kCell;
    const float fy = static_cast<float>(y % kCell) / kCell;
    const float top = at(column, row) * (1 - fx) + at(column + 1, row) * fx;
    const float bottom = at(column, row + 1) * (1 - fx) + at(column + 1, row + 1) * fx;
    const float grain = static_cast<float>(random_() % 13) - 6;
    return static_cast<uint8_t>(std::clamp(top * (1 - fy) + bottom * fy + grain, 0.0F, 255.0F));
  }

  const int64_t width_;
  const int64_t height_;
  const int64_t columns_;
  std::minstd_rand random_;
  std::vector<float> colors_;
};

absl::StatusOr<ItemSource> MakeClip(const MixPart& part, const EmbedChoices& choices, uint64_t seed) {
  Scene scene(part.width, part.height, seed);
  std::vector<RgbImage> frames;
  for (int64_t i = 0; i < part.frames; ++i) frames.push_back(scene.Draw(i % kCell));
  absl::StatusOr<std::string> clip = EncodeClip(frames, kClipFps);
  if (!clip.ok()) return clip.status();
  return VideoSource{*std::move(clip), ToClipSampling(choices.clip)};
}

// Rows as the reference processor makes them: values in [-1, 1].
ItemSource MakePatches(const MixPart& part, uint64_t seed) {
  PatchesSource source;
  source.grid_thw = {1, static_cast<uint32_t>(part.height / kPatch), static_cast<uint32_t>(part.width / kPatch)};
  source.dtype = WireDType::kFp32;
  std::minstd_rand random(seed);
  std::vector<float> values(static_cast<size_t>(part.width / kPatch * (part.height / kPatch) * kPatchValues));
  for (float& value : values) value = static_cast<float>(random() % 256) / 127.5F - 1;
  source.data.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return source;
}

absl::StatusOr<ItemSource> MakeSource(const MixPart& part, const EmbedChoices& choices, int jpeg_quality,
                                      uint64_t seed) {
  if (part.kind == PayloadKind::kClip) return MakeClip(part, choices, seed);
  if (part.kind == PayloadKind::kPatches) return MakePatches(part, seed);
  const RgbImage image = Scene(part.width, part.height, seed).Draw(0);
  if (part.kind == PayloadKind::kRaw) {
    return RgbSource{.data = {image.rgb.begin(), image.rgb.end()},
                     .height = static_cast<uint32_t>(part.height),
                     .width = static_cast<uint32_t>(part.width)};
  }
  const ImageFormat format = part.kind == PayloadKind::kJpeg ? ImageFormat::kJpeg : ImageFormat::kPng;
  absl::StatusOr<std::string> file = EncodeImage(image, format, jpeg_quality);
  if (!file.ok()) return file.status();
  return ImageSource{*std::move(file)};
}

// What means something to the source, of all that was asked for.
void SetPreprocessing(const MixPart& part, const EmbedChoices& choices, EmbedItem& item) {
  if (part.kind == PayloadKind::kPatches) return;
  if (part.kind == PayloadKind::kClip) return SetClipPreprocessing(choices, item);
  SetImagePreprocessing(choices, item);
  if (part.kind != PayloadKind::kRaw) return;
  item.apply_exif.reset();
  item.background.reset();
}

int64_t ByteCount(const ItemSource& source) {
  if (const auto* image = std::get_if<ImageSource>(&source)) return static_cast<int64_t>(image->data.size());
  if (const auto* video = std::get_if<VideoSource>(&source)) return static_cast<int64_t>(video->data.size());
  if (const auto* patches = std::get_if<PatchesSource>(&source)) return static_cast<int64_t>(patches->data.size());
  return static_cast<int64_t>(std::get<RgbSource>(source).data.size());
}

}  // namespace

absl::StatusOr<std::vector<std::vector<BenchPayload>>> MakePayloads(const std::vector<MixPart>& mix,
                                                                    const EmbedChoices& choices,
                                                                    const std::vector<uint32_t>& levels,
                                                                    const PayloadOptions& options) {
  std::vector<std::vector<BenchPayload>> payloads(mix.size());
  std::mt19937_64 seeds(options.seed);
  for (size_t part = 0; part < mix.size(); ++part) {
    for (int64_t i = 0; i < options.distinct; ++i) {
      absl::StatusOr<ItemSource> source = MakeSource(mix[part], choices, options.jpeg_quality, seeds());
      if (!source.ok()) return source.status();
      const int64_t bytes = ByteCount(*source);
      EmbedItem item{.id = absl::StrCat(part, ".", i), .source = *std::move(source)};
      SetPreprocessing(mix[part], choices, item);
      SetOutputs(choices, levels, item);
      payloads[part].push_back({std::make_shared<const EmbedItem>(std::move(item)), part, bytes});
    }
  }
  return payloads;
}

}  // namespace vitower
