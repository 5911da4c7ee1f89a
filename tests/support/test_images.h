#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vitower {

struct Colour {
  uint8_t red = 0;
  uint8_t green = 0;
  uint8_t blue = 0;
};

// A BMP of one colour: what it decodes to is known without a decoder.
std::string SolidBmp(int64_t width, int64_t height, Colour colour);

// Nothing but a PNG's header, claiming any size.
std::string PngHeader(uint32_t width, uint32_t height);

// An animated GIF of one colour a frame, each shown for `centiseconds`.
std::string AnimatedGif(uint16_t width, uint16_t height, const std::vector<Colour>& frames, uint16_t centiseconds = 10);

// Interleaved RGB bytes of frames of one colour each.
std::string SolidRgb(int64_t width, int64_t height, const std::vector<Colour>& frames);

}  // namespace vitower
