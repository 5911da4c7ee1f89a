#include "cli/media_kind.h"

#include <gtest/gtest.h>

#include <string>

namespace vitower {
namespace {

using namespace std::string_literals;  // NOLINT(google-build-using-namespace)

MediaKind Kind(const std::string& path, const std::string& bytes) { return KindOf(path, bytes, /*gif_clips=*/false); }

TEST(MediaKind, AClipIsKnownByItsFirstBytesWhateverItsName) {
  EXPECT_EQ(Kind("-", "\0\0\0\x20"s + "ftypisom"), MediaKind::kClip);
  EXPECT_EQ(Kind("a.dat", "\0\0\0\x08wide"s), MediaKind::kClip);
  EXPECT_EQ(Kind("a.jpg", "\x1A\x45\xDF\xA3 webm"), MediaKind::kClip);
  EXPECT_EQ(Kind("-", "RIFF\0\0\0\0AVI LIST"s), MediaKind::kClip);
}

TEST(MediaKind, AClipIsKnownByItsNameWhateverItHolds) {
  for (const char* name : {"a.mp4", "b/A.MKV", "c.webm", "d.mov", "e.avi"}) {
    EXPECT_EQ(Kind(name, "damaged"), MediaKind::kClip) << name;
  }
}

TEST(MediaKind, AllElseIsAnImage) {
  EXPECT_EQ(Kind("a.jpg", "\xFF\xD8\xFF\xE0"), MediaKind::kImage);
  EXPECT_EQ(Kind("a.webp", "RIFF\0\0\0\0WEBPVP8 "s), MediaKind::kImage);
  EXPECT_EQ(Kind("-", ""), MediaKind::kImage);
}

TEST(MediaKind, AnHeifPictureIsNotTakenForAClip) {
  for (const char* brand : {"heic", "mif1", "avif"}) {
    EXPECT_EQ(Kind("photo", "\0\0\0\x18"s + "ftyp" + brand), MediaKind::kImage) << brand;
  }
}

TEST(MediaKind, AGifIsAClipOnlyWhereThatIsAskedFor) {
  EXPECT_EQ(Kind("a.gif", "GIF89a"), MediaKind::kImage);
  EXPECT_EQ(KindOf("-", "GIF89a", /*gif_clips=*/true), MediaKind::kClip);
  EXPECT_EQ(KindOf("a.gif", "GIF89a", /*gif_clips=*/true), MediaKind::kClip);
}

}  // namespace
}  // namespace vitower
