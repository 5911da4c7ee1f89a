#pragma once

#include <filesystem>
#include <string_view>

namespace vitower {

enum class MediaKind { kImage, kClip };

bool HasClipExtension(const std::filesystem::path& path);  // .mp4 .m4v .mov .mkv .webm .avi, in any case

// What a file is taken for: a clip where its name or its first bytes say so, else an image. A GIF is an image, of which
// the first frame is taken, unless `gif_clips`.
MediaKind KindOf(const std::filesystem::path& path, std::string_view bytes, bool gif_clips);

}  // namespace vitower
