"""Pure: what is known of two pictures -> what one is to the other. No SQL, no HTTP, no settings.

kinds          the kinds of match, best first, and the rule that tells them apart
candidates, near_keypoints   which images are worth a closer look, of all that have keypoints like a picture's
overlaps       how one picture lies on another, by keypoints that agree; homographies: maps between their planes
alignment      both laid on each other and compared pixel by pixel; tones: by how bright they are; impulses: what is
               noise
evidence       why it is told, as it is stored
regions        when a region of one picture is a region of another
templates      how near pictures are to a template; places, sightings: where in them it is
clusters       what looks alike, around medoids or linked; succession: what carries on the run before
families       all that copies join
..._kernels    the compiled loops of these
"""
