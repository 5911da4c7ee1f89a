// OpenCV 4.6 has no GIF decoder, so giflib reads the first frame. What is unusual in a file is read as Pillow reads it.
#include <gif_lib.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "preprocess/decoders.h"

namespace vitower {
namespace {

struct Source {
  absl::Span<const uint8_t> rest;
};

int ReadSome(GifFileType* gif, GifByteType* target, int count) {
  auto* source = static_cast<Source*>(gif->UserData);
  const size_t taken = std::min(source->rest.size(), static_cast<size_t>(std::max(count, 0)));
  if (taken > 0) std::memcpy(target, source->rest.data(), taken);
  source->rest.remove_prefix(taken);
  return static_cast<int>(taken);
}

struct CloseGif {
  void operator()(GifFileType* gif) const { DGifCloseFile(gif, nullptr); }
};
using Gif = std::unique_ptr<GifFileType, CloseGif>;

// Reads one extension; keeps the transparent colour's index of a graphic control.
bool ReadExtension(GifFileType* gif, int& transparent) {
  int code = 0;
  GifByteType* block = nullptr;
  if (DGifGetExtension(gif, &code, &block) != GIF_OK) return false;
  while (block != nullptr) {
    if (code == GRAPHICS_EXT_FUNC_CODE && block[0] >= 4 && (block[1] & 1) != 0) transparent = block[4];
    if (DGifGetExtensionNext(gif, &block) != GIF_OK) return false;
  }
  return true;
}

// Up to the description of the first frame.
bool FindFrame(GifFileType* gif, int& transparent) {
  GifRecordType record = UNDEFINED_RECORD_TYPE;
  while (DGifGetRecordType(gif, &record) == GIF_OK) {
    if (record == IMAGE_DESC_RECORD_TYPE) return DGifGetImageDesc(gif) == GIF_OK;
    if (record != EXTENSION_RECORD_TYPE || !ReadExtension(gif, transparent)) return false;
  }
  return false;
}

using Palette = std::array<std::array<uint8_t, 3>, 256>;

// Without a colour table indices are gray levels; beyond a table they are black.
Palette PaletteOf(const GifFileType& gif, int transparent, const Background& background) {
  Palette palette{};
  const ColorMapObject* map = gif.Image.ColorMap != nullptr ? gif.Image.ColorMap : gif.SColorMap;
  for (size_t i = 0; i < palette.size(); ++i) {
    if (map == nullptr) {
      palette[i].fill(static_cast<uint8_t>(i));
    } else if (static_cast<int>(i) < map->ColorCount) {
      palette[i] = {map->Colors[i].Red, map->Colors[i].Green, map->Colors[i].Blue};
    }
  }
  if (transparent >= 0 && background) palette[static_cast<size_t>(transparent)] = *background;
  return palette;
}

// The row of the frame that the i-th stored row is.
int FrameRow(int i, int height, bool interlaced) {
  if (!interlaced) return i;
  constexpr std::array<std::array<int, 2>, 4> kPasses = {{{0, 8}, {4, 8}, {2, 4}, {1, 2}}};  // first row, step
  for (const auto& [first, step] : kPasses) {
    const int rows = (height - first + step - 1) / step;
    if (i < rows) return first + i * step;
    i -= rows;
  }
  return height - 1;
}

void PaintRow(absl::Span<const uint8_t> indices, const Palette& palette, uint8_t* rgb) {
  for (const uint8_t index : indices) {
    std::memcpy(rgb, palette[index].data(), 3);
    rgb += 3;
  }
}

absl::Status GifError(const ImageHeader& header, int code) {
  const char* text = GifErrorString(code);
  return CannotDecode(header, text != nullptr ? text : "the data is truncated or damaged");
}

}  // namespace

absl::StatusOr<RgbImage> DecodeGif(absl::Span<const uint8_t> bytes, const ImageHeader& header, Background background) {
  Source source{bytes};
  int error = 0;
  const Gif gif(DGifOpen(&source, ReadSome, &error));
  if (gif == nullptr) return GifError(header, error);
  int transparent = -1;
  if (!FindFrame(gif.get(), transparent)) return GifError(header, gif->Error);
  const GifImageDesc& frame = gif->Image;
  const ImageSize canvas = {.height = std::max(gif->SHeight, frame.Top + frame.Height),
                            .width = std::max(gif->SWidth, frame.Left + frame.Width)};
  if (canvas != header.size) return WrongSize(header, canvas);

  RgbImage image = BlankImage(canvas);
  const Palette palette = PaletteOf(*gif, transparent, background);
  const auto canvas_index = static_cast<uint8_t>(std::max(transparent, 0));
  const std::vector<uint8_t> canvas_row(static_cast<size_t>(canvas.width), canvas_index);
  for (int64_t y = 0; y < canvas.height; ++y) PaintRow(canvas_row, palette, &image.rgb[3 * y * canvas.width]);
  std::vector<uint8_t> row(static_cast<size_t>(frame.Width));
  for (int i = 0; i < frame.Height; ++i) {
    if (DGifGetLine(gif.get(), row.data(), frame.Width) != GIF_OK) return GifError(header, gif->Error);
    const int64_t y = frame.Top + FrameRow(i, frame.Height, frame.Interlace);
    PaintRow(row, palette, &image.rgb[3 * (y * canvas.width + frame.Left)]);
  }
  return image;
}

}  // namespace vitower
