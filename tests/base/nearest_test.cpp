#include "base/nearest.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace shmif::base {
namespace {

std::string guess(std::string_view word, const std::vector<std::string>& known) {
  return nearest(word, known).value_or("none");
}

TEST(Nearest, IsTheWordWithTheFewestChangedLettersWhereverItStands) {
  EXPECT_EQ(guess("delya", {"delay", "relay", "replay"}), "delay");
  EXPECT_EQ(guess("delya", {"replay", "relay", "delay"}), "delay");
  for (const char* word :
       {"elay", "dlay", "dela", "xdelay", "dexlay", "delayx", "xelay", "delax"}) {
    EXPECT_EQ(guess(word, {"loss", "delay", "queue"}), "delay") << word;
  }
}

TEST(Nearest, OfWordsThatAreEquallyNearIsTheFirst) {
  EXPECT_EQ(guess("rats", {"rate", "rata"}), "rate");
  EXPECT_EQ(guess("rats", {"rata", "rate"}), "rata");
  EXPECT_EQ(guess("in", {"inject", "info"}), "inject");
}

TEST(Nearest, IsTheOneThatWasBegunHoweverLongItsRest) {
  EXPECT_EQ(guess("du", {"up", "duplicate"}), "duplicate");
  EXPECT_EQ(guess("ab", {"xb", "abacus"}), "abacus") << "rather than one with another letter";
  EXPECT_EQ(guess("ab", {"abacus", "xb", "abbey"}), "abacus");
  EXPECT_EQ(guess("d", {"duplicate"}), "none") << "one letter is no beginning";
  EXPECT_EQ(guess("plicate", {"duplicate-frames"}), "none");
}

TEST(Nearest, AllowsTwoChangesAndInLongWordsAThirdOfTheLetters) {
  EXPECT_EQ(guess("queux", {"queue"}), "queue");
  EXPECT_EQ(guess("quexx", {"queue"}), "queue");
  EXPECT_EQ(guess("quxxx", {"queue"}), "none");
  EXPECT_EQ(guess("abcdefxyz", {"abcdefghi"}), "abcdefghi");
  EXPECT_EQ(guess("abcdewxyz", {"abcdefghi"}), "none");
  EXPECT_EQ(guess("abcdexyz", {"abcdefgh"}), "none") << "8 letters allow two";
}

TEST(Nearest, IsNoWordOfWhichNoLetterIsLeft) {
  EXPECT_EQ(guess("ab", {"xy"}), "none");
  EXPECT_EQ(guess("ab", {"xb"}), "xb");
  EXPECT_EQ(guess("wbe", {"web"}), "web") << "two letters changed places";
  EXPECT_EQ(guess("", {"xy"}), "none");
  EXPECT_EQ(guess("ab", {}), "none");
  for (const char* word : {"nat", "list", "stops", "a"})
    EXPECT_EQ(guess(word, {"tap", "ls", "top", "up"}), "none") << word << " is too short to guess";
}

}  // namespace
}  // namespace shmif::base
